#include "place.hpp"

#include <fmt/format.h>

#include <iostream>

#include "xenpv/cli/table.hpp"
#include "xenpv/cli/value.hpp"

namespace xenpv::evtchn_app {

void offer_root(cli::command& command, std::string& target) {
  command.option("--root DIR", target,
                 "look at the /proc and /sys in DIR, an unpacked capture, instead of this guest's",
                 cli::as_text);
}

diag::inventory take_inventory(const diag::reading_place& place) {
  const auto from = diag::read_all(place);
  auto all = diag::make_inventory(from);
  if (!from.guest.runs_on_xen() && all.channels.empty())
    throw failure(errc::not_available, "find event channels",
                  "this is no Xen guest; --root DIR looks at a capture of one");
  return all;
}

void tell_sources(const std::vector<diag::rung>& ladder) {
  std::string used;
  for (const auto& each : ladder)
    if (each.used) used += (used.empty() ? "" : ", ") + each.name;
  std::cerr << fmt::format("sources: {}\n", used.empty() ? "none" : used);
  for (const auto& each : ladder)
    if (!each.used)
      std::cerr << fmt::format("  not {} ({}): {}\n", each.name, each.gives,
                               cli::printable(each.needs));
}

}  // namespace xenpv::evtchn_app
