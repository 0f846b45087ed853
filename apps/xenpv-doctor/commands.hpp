// The commands of xenpv-doctor: examine one guest, or compare two reports.
#pragma once

#include <string_view>

#include "cli/app.hpp"

namespace xenpv::doctor_app {

/// Exit statuses as in monitoring plugins, determined by the worst row.
inline constexpr int healthy = 0;
inline constexpr int warned = 1;
inline constexpr int failing = 2;
// Usage errors and failures use EX_USAGE and EX_SOFTWARE from sysexits.h instead of 2 and 1.
inline constexpr int usage_error = 64;
inline constexpr int internal_error = 70;

/// Adds the options of the main command. Both functions share `json`.
void set_up_examine(cli::app& app, bool& json);
void add_compare(cli::app& app, const bool& json);

/// Returns the first of the given options that applies only to the main command, such as "--html";
/// empty if there is none.
[[nodiscard]] std::string_view given_examine_option() noexcept;

}  // namespace xenpv::doctor_app
