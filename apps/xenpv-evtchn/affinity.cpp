#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ostream>

#include "cli/table.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "moves.hpp"
#include "place.hpp"
#include "xenpv/async/cpu_set.hpp"

namespace xenpv::evtchn_app {
namespace {

struct affinity_options {
  std::string channel;
  async::cpu_list cpus;
  std::chrono::nanoseconds interval{};
  bool json = false;
};

/// Returns the channel with this interrupt number or name. Throws `failure` if there is none or if
/// the name is ambiguous.
const channels::channel& find_channel(const channels::inventory& inventory,
                                      const std::string& name) {
  std::vector<const channels::channel*> matches;
  for (const auto& entry : inventory.channels)
    if (entry.irq && (entry.name == name || fmt::format("{}", *entry.irq) == name))
      matches.push_back(&entry);
  if (matches.size() == 1) return *matches.front();
  if (matches.empty())
    throw failure(errc::invalid_argument, fmt::format("event channel '{}'", name),
                  "xenpv-evtchn list shows interrupts and names");
  std::vector<unsigned> irqs;
  irqs.reserve(matches.size());
  for (const auto* match : matches)
    irqs.push_back(*match->irq);
  throw failure(
      errc::invalid_argument, fmt::format("event channel '{}'", name),
      fmt::format("ambiguous: matches interrupts {}; use the number", fmt::join(irqs, ", ")));
}

cli::exit_code affinity(const affinity_options& options, std::ostream& out) {
  const channels::fact_source source;
  const auto inventory = take_inventory(source);
  const auto& channel = find_channel(inventory, options.channel);
  const auto moves =
      make_moves(source.root, {{.irq = *channel.irq, .cpus = options.cpus.cpus}}, options.interval);
  const auto& move = moves.front();
  if (options.json) {
    auto document = cli::json_document("xenpv-evtchn.affinity", 1);
    document["name"] = channel.name;
    document["move"] = to_json(move);
    cli::print_json(out, document);
  } else {
    out << fmt::format("{} (interrupt {}) to CPU {}: {}, {}\n", cli::printable(channel.name),
                       move.irq, async::format_cpu_list(move.cpus), to_string(move.verdict),
                       proof_text(move));
    if (move.effective)
      out << fmt::format("effective affinity: CPU {}\n", async::format_cpu_list(*move.effective));
  }
  out.flush();
  warn_about_irqbalance(source.root);
  return all_succeeded(moves) ? cli::exit_code::ok : cli::exit_code::failed;
}

}  // namespace

void add_affinity(cli::app& app) {
  static affinity_options options;
  auto& command = app.add_command("affinity", "move one event channel to other CPUs");
  command
      .describe(
          "Writes the affinity of an interrupt, reads it back, and compares the counts over an "
          "interval to verify the move: the hypervisor may deliver events to a CPU other than the "
          "one the kernel reports. The exit status is 1 if the kernel refused the move or if "
          "events arrived elsewhere.")
      .example("move the first disk's second queue to CPU 1", "xenpv-evtchn affinity 15 1")
      .argument("CHANNEL", options.channel, "an interrupt, by number or name, as shown by list",
                cli::as_text)
      .argument("CPUS", options.cpus, "such as 0-3,8", async::as_cpu_list)
      .option("--interval TIME", options.interval,
              "how long to verify the move; 0: no verification", parse_duration,
              {.by_default = "1s"})
      .offers_json(options.json)
      .action([](std::ostream& out) { return affinity(options, out); });
}

}  // namespace xenpv::evtchn_app
