#include <fmt/format.h>

#include <optional>
#include <ostream>
#include <thread>

#include "commands.hpp"
#include "place.hpp"
#include "watch_view.hpp"
#include "xenpv/cli/screen.hpp"
#include "xenpv/cli/value.hpp"

namespace xenpv::evtchn_app {
namespace {

using clock = std::chrono::steady_clock;

struct watch_words {
  std::string root;
  std::chrono::nanoseconds interval{};
  std::optional<std::uint64_t> iterations;
  bool json = false;
};

struct sample {
  diag::interrupt_table table;
  clock::time_point at;
};

sample take_sample(const system_root& root) {
  const auto at = clock::now();
  auto interrupts = diag::read_interrupts(root);
  if (!interrupts.value) throw failure(errc::not_available, "read the counts", interrupts.problem);
  return {std::move(*interrupts.value), at};
}

/// The readings, two of which make a rate.
class rate_source {
 public:
  explicit rate_source(system_root root) : root_(std::move(root)), last_(take_sample(root_)) {}
  /// Since the last call, or since the start.
  diag::rate_report next() {
    auto now = take_sample(root_);
    auto report = diag::rates_between(last_.table, now.table, now.at - last_.at);
    last_ = std::move(now);
    return report;
  }

 private:
  system_root root_;
  sample last_;
};

watch_order order_for(char key, watch_order before) {
  if (key == 'r') return watch_order::rate;
  if (key == 'i') return watch_order::irq;
  if (key == 'n') return watch_order::name;
  return before;
}

void watch_on_screen(const watch_words& words, rate_source& source) {
  cli::screen screen;
  auto order = watch_order::rate;
  std::optional<diag::rate_report> report;
  std::uint64_t left = words.iterations.value_or(0);
  auto next = clock::now() + words.interval;
  const auto redraw = [&] {
    const auto window = screen.size();
    if (report)
      screen.draw(watch_lines(*report, order, window.columns, window.rows));
    else
      screen.draw({"the first rates come with the second reading"});
  };
  redraw();
  for (;;) {
    const auto what = screen.wait(next);
    if (what == cli::screen::event::ended) return;
    if (what == cli::screen::event::key) {
      if (screen.key() == 'q') return;
      order = order_for(screen.key(), order);
    }
    if (what == cli::screen::event::timeout && clock::now() >= next) {
      report = source.next();
      next += words.interval;
      // Stopped for a while (Ctrl-Z, a paused guest): no burst of intervals afterwards.
      if (next < clock::now()) next = clock::now() + words.interval;
      redraw();
      if (words.iterations && --left == 0) return;
      continue;
    }
    redraw();
  }
}

void watch_in_lines(const watch_words& words, rate_source& source, std::ostream& out) {
  auto next = clock::now();
  for (std::uint64_t i = 0; !words.iterations || i < *words.iterations; ++i) {
    next += words.interval;
    std::this_thread::sleep_until(next);
    const auto report = source.next();
    if (words.json) {
      out << watch_json(report).dump(-1, ' ', false, cli::json::error_handler_t::replace) << '\n';
    } else {
      for (const auto& line : watch_plain(report))
        out << line << '\n';
    }
    out.flush();
    // The reader has gone.
    if (!out) return;
  }
}

cli::exit_code watch(const watch_words& words, std::ostream& out) {
  rate_source source(diag::place_at(words.root).root);
  if (!words.json && cli::screen::is_possible())
    watch_on_screen(words, source);
  else
    watch_in_lines(words, source, out);
  return cli::exit_code::ok;
}

result<std::chrono::nanoseconds> as_interval(std::string_view text, std::string_view what) {
  using namespace std::chrono_literals;
  const auto interval = parse_duration(text, what);
  if (!interval) return interval.error();
  if (*interval < 10ms || *interval > 1h)
    return make_error(errc::invalid_argument, fmt::format("{} '{}'", what, text),
                      "expected 10ms to 3600s");
  return *interval;
}

}  // namespace

void add_watch(cli::app& app) {
  static watch_words words;
  auto& command = app.add_command("watch", "show how many events come, and where, as it goes");
  command
      .describe(
          "Reads the counts again and again and shows what each channel got in between, a second. "
          "The balance is 1 when all CPUs get the same and 0 when one gets everything; timers and "
          "IPIs are bound to their CPUs, so there is a second figure for what can move.")
      .describe(
          "On a terminal the picture is redrawn; r, i and n sort by rate, interrupt and name, q "
          "ends. Elsewhere, and with --json, each interval is printed: lines, or a JSON document a "
          "line.")
      .option("--interval TIME", words.interval, "between readings", as_interval,
              {.by_default = "1s"})
      .option("--iterations N", words.iterations, "end after N intervals",
              cli::whole_number<std::uint64_t>(1, ~std::uint64_t{0}))
      .offers_json(words.json);
  offer_root(command, words.root);
  command.action([](std::ostream& out) { return watch(words, out); });
}

}  // namespace xenpv::evtchn_app
