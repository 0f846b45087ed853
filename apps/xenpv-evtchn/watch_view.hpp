// The output of watch for one interval, as lines of text that fit a window. Pure.
#pragma once

#include <string>
#include <vector>

#include "channels/rates.hpp"
#include "cli/json.hpp"

namespace xenpv::evtchn_app {

enum class watch_order { rate, irq, name };

/// Returns at most `rows` lines of at most `columns` characters: a summary, each CPU, then the
/// channels. Shows per-CPU columns if all CPUs fit.
[[nodiscard]] std::vector<std::string> watch_lines(const channels::rate_report& report,
                                                   watch_order order, unsigned columns,
                                                   unsigned rows);
/// Returns the summary and every channel that had events, for files and pipes.
[[nodiscard]] std::vector<std::string> watch_plain(const channels::rate_report& report);
/// Returns a JSON document, for printing on one line.
[[nodiscard]] cli::json watch_json(const channels::rate_report& report);

}  // namespace xenpv::evtchn_app
