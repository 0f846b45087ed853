#include "place.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "cli/table.hpp"
#include "cli/value.hpp"

namespace xenpv::evtchn_app {
namespace {

[[noreturn]] void throw_no_guest() {
  throw failure(errc::not_available, "find event channels",
                "not a Xen guest; --root DIR reads a capture of a guest");
}

}  // namespace

void add_root_option(cli::command& command, std::string& target) {
  command.option("--root DIR", target,
                 "read /proc and /sys from DIR, an unpacked capture, instead of this guest",
                 cli::as_text);
}

doctor::guest_snapshot take_guest(const channels::fact_source& source) {
  auto guest = doctor::take_channel_snapshot(source);
  if (!guest.on_xen() && guest.channels.channels.empty()) throw_no_guest();
  return guest;
}

channels::inventory take_inventory(const channels::fact_source& source) {
  return take_guest(source).channels;
}

void require_guest(const system_root& root, const channels::interrupt_table& interrupts) {
  const bool has_channels = std::ranges::any_of(
      interrupts.rows,
      [](const channels::interrupt_row& row) { return row.irq && channels::purpose_of(row); });
  if (!has_channels && !xen::read_guest_facts(root).runs_on_xen()) throw_no_guest();
}

void print_problems(const std::vector<std::string>& problems) {
  constexpr std::size_t max_lines = 10;
  for (std::size_t i = 0; i < problems.size() && i < max_lines; ++i)
    std::cerr << fmt::format("ignored a line of {}\n", cli::printable(problems[i]));
  if (problems.size() > max_lines)
    std::cerr << fmt::format("and {} more lines; list --json shows them all\n",
                             problems.size() - max_lines);
}

void print_sources(const std::vector<channels::source_status>& sources) {
  std::string used;
  for (const auto& source : sources)
    if (source.used) used += (used.empty() ? "" : ", ") + source.name;
  std::cerr << fmt::format("sources: {}\n", used.empty() ? "none" : used);
  for (const auto& source : sources)
    if (!source.used)
      std::cerr << fmt::format("  not used: {} ({}): {}\n", source.name, source.gives,
                               cli::printable(source.needs));
}

}  // namespace xenpv::evtchn_app
