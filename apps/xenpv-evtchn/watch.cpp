#include <fmt/format.h>

#include <optional>
#include <ostream>
#include <thread>

#include "cli/screen.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "place.hpp"
#include "watch_keys.hpp"
#include "watch_view.hpp"

namespace xenpv::evtchn_app {
namespace {

using clock = std::chrono::steady_clock;

struct watch_options {
  std::string root;
  std::chrono::nanoseconds interval{};
  std::optional<std::uint64_t> iterations;
  bool json = false;
};

struct sample {
  channels::interrupt_table table;
  clock::time_point at;
};

sample take_sample(const system_root& root) {
  const auto at = clock::now();
  auto interrupts = channels::read_interrupts(root);
  if (!interrupts.value) throw failure(errc::not_available, "read the counts", interrupts.problem);
  return {std::move(*interrupts.value), at};
}

/// Takes samples and computes the rates between consecutive samples.
class rate_source {
 public:
  /// Throws errc::not_available outside Xen.
  explicit rate_source(system_root root) : root_(std::move(root)), last_(take_sample(root_)) {
    require_guest(root_, last_.table);
  }
  /// Returns the lines of the last sample that cannot be parsed.
  [[nodiscard]] std::vector<std::string> problems() const {
    std::vector<std::string> out;
    for (const auto& problem : last_.table.problems)
      out.push_back("/proc/interrupts: " + problem);
    return out;
  }
  /// Returns the rates since the last call, or since the start.
  channels::rate_report next() {
    auto now = take_sample(root_);
    auto report = channels::rates_between(last_.table, now.table, now.at - last_.at);
    last_ = std::move(now);
    return report;
  }

 private:
  system_root root_;
  sample last_;
};

void watch_on_screen(const watch_options& options, rate_source& source) {
  cli::screen screen;
  watch_keys keys;
  watch_view view;
  watch_frame frame;
  std::optional<channels::rate_report> report;
  std::uint64_t left = options.iterations.value_or(0);
  auto next = clock::now() + options.interval;
  const auto redraw = [&] {
    const auto window = screen.size();
    if (!report) return screen.draw({"waiting for the second sample"});
    frame = draw_watch(*report, view, window.columns, window.rows);
    view.first = frame.first;
    screen.draw(frame.lines);
  };
  redraw();
  for (;;) {
    const auto event = screen.wait(next);
    if (event == cli::screen::event::ended) return;
    if (event == cli::screen::event::key &&
        keys.take(screen.key(), frame, view) == watch_action::quit)
      return;
    if (event == cli::screen::event::timeout && clock::now() >= next) {
      report = source.next();
      next += options.interval;
      // After a stop (Ctrl-Z, a paused guest), do not catch up on missed intervals.
      if (next < clock::now()) next = clock::now() + options.interval;
      redraw();
      if (options.iterations && --left == 0) return;
      continue;
    }
    redraw();
  }
}

void watch_in_lines(const watch_options& options, rate_source& source, std::ostream& out) {
  auto next = clock::now();
  for (std::uint64_t i = 0; !options.iterations || i < *options.iterations; ++i) {
    next += options.interval;
    std::this_thread::sleep_until(next);
    const auto report = source.next();
    if (options.json) {
      out << watch_json(report).dump(-1, ' ', false, cli::json::error_handler_t::replace) << '\n';
    } else {
      for (const auto& line : watch_plain(report))
        out << line << '\n';
    }
    out.flush();
    // The reader has closed the pipe.
    if (!out) return;
  }
}

cli::exit_code watch(const watch_options& options, std::ostream& out) {
  rate_source source(channels::place_at(options.root).root);
  if (!options.json && cli::screen::is_possible()) {
    watch_on_screen(options, source);
  } else {
    print_problems(source.problems());
    watch_in_lines(options, source, out);
  }
  return cli::exit_code::ok;
}

result<std::chrono::nanoseconds> as_interval(std::string_view text, std::string_view name) {
  using namespace std::chrono_literals;
  const auto interval = parse_duration(text, name);
  if (!interval) return interval.error();
  if (*interval < 10ms || *interval > 1h)
    return make_error(errc::invalid_argument, fmt::format("{} '{}'", name, text),
                      "expected 10ms to 1h");
  return *interval;
}

}  // namespace

void add_watch(cli::app& app) {
  static watch_options options;
  auto& command = app.add_command("watch", "show live event rates per channel and CPU");
  command
      .describe(
          "Reads the counts periodically and shows the events of each channel per second. The "
          "balance is 1 if all CPUs receive the same number of events, and 0 if one CPU receives "
          "them all. Timers and IPIs are bound to their CPUs, so a second figure covers only the "
          "channels that can move.")
      .describe(
          "On a terminal, the screen is redrawn. r, i, n, k and c sort by rate, interrupt, name, "
          "kind and busiest CPU. The arrow keys, PgUp and PgDn (or b and Space), Home and End (or "
          "g "
          "and G) scroll. q quits. Otherwise, and with --json, each interval is printed: as lines "
          "of text, or as one JSON document per line.")
      .option("--interval TIME", options.interval, "time between samples", as_interval,
              {.by_default = "1s"})
      .option("--iterations N", options.iterations, "exit after N intervals",
              cli::whole_number<std::uint64_t>(1, ~std::uint64_t{0}))
      .offers_json(options.json);
  add_root_option(command, options.root);
  command.action([](std::ostream& out) { return watch(options, out); });
}

}  // namespace xenpv::evtchn_app
