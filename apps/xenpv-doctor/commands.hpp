// What xenpv-doctor does: looks at one guest, or compares two reports.
#pragma once

#include "xenpv/cli/app.hpp"

namespace xenpv::doctor_app {

/// Exit statuses, as a monitoring check has them: the worst row says which.
inline constexpr int all_well = 0;
inline constexpr int warned = 1;
inline constexpr int failing = 2;
// So the usual ones are elsewhere: EX_USAGE and EX_SOFTWARE of sysexits.h.
inline constexpr int wrong_usage = 64;
inline constexpr int went_wrong = 70;

/// Options of the program itself. `json` is shared by both.
void set_up_examine(cli::app& app, bool& json);
void add_compare(cli::app& app, const bool& json);

}  // namespace xenpv::doctor_app
