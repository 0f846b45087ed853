#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ostream>

#include "commands.hpp"
#include "moves.hpp"
#include "place.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/cli/table.hpp"
#include "xenpv/cli/value.hpp"

namespace xenpv::evtchn_app {
namespace {

struct affinity_words {
  std::string which;
  async::cpu_list cpus;
  std::chrono::nanoseconds interval{};
  bool json = false;
};

/// The one channel that `word` means: an interrupt's number or its name.
const diag::channel& find_channel(const diag::inventory& all, const std::string& word) {
  std::vector<const diag::channel*> found;
  for (const auto& each : all.channels)
    if (each.irq && (each.name == word || fmt::format("{}", *each.irq) == word))
      found.push_back(&each);
  if (found.size() == 1) return *found.front();
  if (found.empty())
    throw failure(errc::invalid_argument, fmt::format("event channel '{}'", word),
                  "xenpv-evtchn list shows interrupts and names");
  std::vector<unsigned> irqs;
  irqs.reserve(found.size());
  for (const auto* each : found)
    irqs.push_back(*each->irq);
  throw failure(errc::invalid_argument, fmt::format("event channel '{}'", word),
                fmt::format("interrupts {} have this name; say which", fmt::join(irqs, ", ")));
}

cli::exit_code affinity(const affinity_words& words, std::ostream& out) {
  const diag::reading_place place;
  const auto all = take_inventory(place);
  const auto& channel = find_channel(all, words.which);
  const auto moves =
      make_moves(place.root, {{.irq = *channel.irq, .cpus = words.cpus.cpus}}, words.interval);
  const auto& move = moves.front();
  if (words.json) {
    auto document = cli::json_document("xenpv-evtchn.affinity", 1);
    document["name"] = channel.name;
    document["move"] = to_json(move);
    cli::print_json(out, document);
  } else {
    out << fmt::format("{} (interrupt {}) to CPU {}: {}, {}\n", cli::printable(channel.name),
                       move.irq, async::format_cpu_list(move.cpus), to_string(move.verdict),
                       proof_text(move));
    if (move.effective)
      out << fmt::format("the kernel says: CPU {}\n", async::format_cpu_list(*move.effective));
  }
  out.flush();
  warn_of_irqbalance(place.root);
  return all_good(moves) ? cli::exit_code::ok : cli::exit_code::failed;
}

}  // namespace

void add_affinity(cli::app& app) {
  static affinity_words words;
  auto& command = app.add_command("affinity", "send one event channel to other CPUs");
  command
      .describe(
          "Writes the affinity of an interrupt, reads it again, and watches for an interval whose "
          "count grows: what the kernel says it did may not be what the hypervisor does. The exit "
          "status is 1 if the kernel refused, or if events came elsewhere.")
      .example("the first disk's second queue", "xenpv-evtchn affinity 15 1")
      .argument("CHANNEL", words.which, "an interrupt, by number or name, as in list", cli::as_text)
      .argument("CPUS", words.cpus, "as in 0-3,8", async::as_cpu_list)
      .option("--interval TIME", words.interval, "how long to watch for proof; 0 does not",
              parse_duration, {.by_default = "1s"})
      .offers_json(words.json)
      .action([](std::ostream& out) { return affinity(words, out); });
}

}  // namespace xenpv::evtchn_app
