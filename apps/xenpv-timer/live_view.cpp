#include "live_view.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/parse.hpp"

namespace xenpv::timer_app {
namespace {

using cpu_figures = probe::timer_progress::cpu_figures;

std::string cells(std::string_view cpu, std::string_view count, std::string_view lost,
                  std::string_view min, std::string_view last, std::string_view mean,
                  std::string_view max) {
  return fmt::format("{:>5}{:>11}{:>9}{:>9}{:>9}{:>9}{:>9}", cpu, count, lost, min, last, mean,
                     max);
}

std::string cpu_line(const cpu_figures& cpu) {
  const auto& late = cpu.late;
  const auto time = [&](std::uint64_t value) {
    return late.samples == 0 ? std::string("-") : format_nanoseconds(value);
  };
  return cells(fmt::format("{}", cpu.cpu), fmt::format("{}", late.samples),
               fmt::format("{}", late.lost), time(late.min), time(late.last), time(late.mean),
               time(late.max));
}

/// Formats the whole seconds of a time that counts down: "7 s left", "1:05:00 left".
std::string left_text(std::chrono::nanoseconds left) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(left).count();
  if (seconds < 100) return fmt::format("{} s left", seconds);
  return fmt::format("{}:{:02}:{:02} left", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

}  // namespace

std::vector<std::string> live_lines(const probe::timer_progress& progress, std::size_t max_lines) {
  auto cpus = progress.cpus;
  // The first two lines are not for CPUs.
  const auto room = max_lines > 2 ? max_lines - 2 : 0;
  std::string selection;
  if (cpus.size() > room) {
    std::ranges::stable_sort(cpus, std::ranges::greater(),
                             [](const cpu_figures& cpu) { return cpu.late.max; });
    cpus.resize(room);
    std::ranges::sort(cpus, {}, &cpu_figures::cpu);
    selection = fmt::format("; {} of {} CPUs shown, those with the highest maximum", cpus.size(),
                            progress.cpus.size());
  }
  std::vector<std::string> out = {
      fmt::format("measuring, {}; Ctrl-C ends early{}", left_text(progress.left), selection),
      cells("CPU", "SAMPLES", "LOST", "MIN", "LAST", "MEAN", "MAX")};
  for (const auto& cpu : cpus)
    out.push_back(cpu_line(cpu));
  out.resize(std::min(out.size(), std::max<std::size_t>(max_lines, 1)));
  return out;
}

}  // namespace xenpv::timer_app
