#include "place.hpp"

#include <fmt/format.h>

#include <iostream>

#include "cli/table.hpp"
#include "cli/value.hpp"

namespace xenpv::evtchn_app {

void add_root_option(cli::command& command, std::string& target) {
  command.option("--root DIR", target,
                 "read /proc and /sys from DIR, an unpacked capture, instead of this guest",
                 cli::as_text);
}

channels::inventory take_inventory(const channels::fact_source& source) {
  const auto facts = channels::read_raw_facts(source);
  auto inventory = channels::make_inventory(facts);
  if (!facts.guest.runs_on_xen() && inventory.channels.empty())
    throw failure(errc::not_available, "find event channels",
                  "not a Xen guest; --root DIR reads a capture of a guest");
  return inventory;
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
