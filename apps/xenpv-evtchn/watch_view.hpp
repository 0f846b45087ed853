// The output of watch for one interval, as lines of text that fit a window, and the keys that
// change the view. Pure: draws nothing and reads no keys.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "channels/rates.hpp"
#include "cli/json.hpp"

namespace xenpv::evtchn_app {

enum class watch_order { rate, irq, name, kind, cpu };

/// The user's choice of columns, order and position.
struct watch_view {
  watch_order order = watch_order::rate;
  std::size_t first = 0;  ///< number of channels above the window
};

/// One picture of the screen.
struct watch_frame {
  std::vector<std::string> lines = {};
  std::size_t first = 0;  ///< watch_view::first, limited so that the window is full
  std::size_t shown = 0;  ///< number of channels in the window
};

/// Returns at most `rows` lines of at most `columns` characters: a summary, each CPU, the channels,
/// which of them are shown, and the keys. Shows per-CPU columns if all CPUs fit. In a narrow
/// window, omits columns and shortens names, but keeps the rates; in a low one, omits the keys.
[[nodiscard]] watch_frame draw_watch(const channels::rate_report& report, const watch_view& view,
                                     unsigned columns, unsigned rows);
/// Returns the summary and every channel that had events, for files and pipes.
[[nodiscard]] std::vector<std::string> watch_plain(const channels::rate_report& report);
/// Returns a JSON document, for printing on one line.
[[nodiscard]] cli::json watch_json(const channels::rate_report& report);

}  // namespace xenpv::evtchn_app
