#include "xenpv/diag/balance.hpp"

#include <fmt/format.h>

#include <iostream>
#include <ostream>
#include <thread>

#include "commands.hpp"
#include "moves.hpp"
#include "place.hpp"
#include "xenpv/cli/json.hpp"
#include "xenpv/cli/table.hpp"
#include "xenpv/cli/value.hpp"
#include "xenpv/diag/rates.hpp"

namespace xenpv::evtchn_app {
namespace {

using weights = std::map<unsigned, std::uint64_t>;

struct balance_words {
  std::string root;
  bool plan = false;
  bool apply = false;
  diag::balance_wish wish;
  std::chrono::nanoseconds interval{};
  bool json = false;
};

struct balance_report {
  diag::balance_input input;
  std::vector<diag::planned_move> plan;
  bool since_boot = false;  ///< weights are all counts, not those of an interval
  std::vector<diag::irq_move> done;
};

weights events_within(const system_root& root, std::chrono::nanoseconds interval) {
  const auto before = diag::read_interrupts(root);
  std::this_thread::sleep_for(interval);
  const auto after = diag::read_interrupts(root);
  weights out;
  if (!before.value || !after.value) return out;
  for (const auto& each : diag::rates_between(*before.value, *after.value, interval).channels)
    out.emplace(each.irq, each.events);
  return out;
}

weights events_since_boot(const diag::inventory& all) {
  weights out;
  for (const auto& each : all.channels)
    if (each.irq) out.emplace(*each.irq, each.total());
  return out;
}

balance_report make_plan(const balance_words& words, const diag::reading_place& place) {
  balance_report out;
  out.since_boot = place.is_capture || words.interval.count() == 0;
  weights events;
  if (!out.since_boot) events = events_within(place.root, words.interval);
  // Read after the interval: where things are now counts.
  const auto all = take_inventory(place);
  if (!all.problems.empty()) throw failure(errc::not_available, all.problems.front());
  out.input = diag::make_balance_input(all, out.since_boot ? events_since_boot(all) : events);
  out.input.nodes = diag::read_numa_nodes(place.root);
  auto plan = diag::plan_balance(out.input, words.wish);
  if (!plan) throw failure(plan.error());
  out.plan = std::move(*plan);
  return out;
}

double balance_before(const balance_report& report) {
  return diag::balance_of(diag::events_after(report.input, {}));
}

double balance_after(const balance_report& report) {
  return diag::balance_of(diag::events_after(report.input, report.plan));
}

void print_table(std::ostream& out, const balance_report& report) {
  const bool applied = !report.done.empty();
  std::vector<cli::column> columns = {{"IRQ", cli::align::right},    {"NAME"},
                                      {"FROM", cli::align::right},   {"TO", cli::align::right},
                                      {"EVENTS", cli::align::right}, {"WHY"}};
  if (applied) columns.insert(columns.end(), {{"RESULT"}, {"PROOF"}});
  cli::table table(std::move(columns));
  for (std::size_t i = 0; i < report.plan.size(); ++i) {
    const auto& move = report.plan[i];
    std::vector<std::string> cells = {fmt::format("{}", move.irq),    move.name,
                                      fmt::format("{}", move.from),   fmt::format("{}", move.to),
                                      fmt::format("{}", move.events), move.reason};
    if (applied) {
      cells.emplace_back(to_string(report.done[i].verdict));
      cells.push_back(proof_text(report.done[i]));
    }
    table.add_row(std::move(cells));
  }
  if (!table.empty()) table.print(out);
}

cli::json document_of(const balance_report& report) {
  auto document = cli::json_document("xenpv-evtchn.balance", 1);
  document["weights"] = report.since_boot ? "events since boot" : "events in the interval";
  document["cpus"] = report.input.cpus;
  document["events_before"] = diag::events_after(report.input, {});
  document["events_planned"] = diag::events_after(report.input, report.plan);
  document["balance_before"] = balance_before(report);
  document["balance_planned"] = balance_after(report);
  document["applied"] = !report.done.empty();
  document["moves"] = cli::json::array();
  for (std::size_t i = 0; i < report.plan.size(); ++i) {
    const auto& move = report.plan[i];
    document["moves"].push_back(
        {{"irq", move.irq},
         {"name", move.name},
         {"from", move.from},
         {"to", move.to},
         {"events", move.events},
         {"reason", move.reason},
         {"result", report.done.empty() ? cli::json() : to_json(report.done[i])}});
  }
  return document;
}

void tell_summary(const balance_report& report) {
  std::cerr << fmt::format(
      "balance {:.2f} now, {:.2f} with {} moves (1 is even; {})\n", balance_before(report),
      balance_after(report), report.plan.size(),
      report.since_boot ? "by the events since boot" : "by the events of the interval");
}

cli::exit_code balance(const balance_words& words, std::ostream& out) {
  if (words.plan && words.apply)
    throw failure(errc::invalid_argument, "--plan and --apply", "one of them, please");
  const auto place = diag::place_at(words.root);
  if (words.apply && place.is_capture)
    throw failure(errc::invalid_argument, "--apply to a capture", "leave out --root, or --apply");
  auto report = make_plan(words, place);
  if (words.apply) {
    std::vector<wanted_move> moves;
    for (const auto& each : report.plan)
      moves.push_back({.irq = each.irq, .cpus = {each.to}});
    report.done = make_moves(place.root, moves, words.interval);
    warn_of_irqbalance(place.root);
  }
  if (words.json)
    cli::print_json(out, document_of(report));
  else
    print_table(out, report);
  out.flush();
  tell_summary(report);
  return all_good(report.done) ? cli::exit_code::ok : cli::exit_code::failed;
}

}  // namespace

void add_balance(cli::app& app) {
  static balance_words words;
  auto& command = app.add_command("balance", "spread event channels over the CPUs");
  command
      .describe(
          "Counts for an interval, then says which channels should go to which CPU, and why: from "
          "the busiest to the idlest, as long as that makes a difference. Timers and IPIs belong "
          "to their CPU and are only counted in. Channels without events stay where they are. "
          "Nothing is changed without --apply.")
      .describe(
          "--apply writes the affinities, reads them again, and watches for the same interval "
          "which CPU's count grows: proven, set (no event came), elsewhere, or refused by the "
          "kernel. The exit status is 1 if one was refused or came elsewhere.")
      .describe(
          "Policies: spread over all CPUs; numa, the same within each node; pin:NAME=CPUS;... "
          "sends "
          "channels whose name fits a pattern to these CPUs in turn.")
      .example("see, then do", "xenpv-evtchn balance; xenpv-evtchn balance --apply")
      .example("network queues on CPUs 0 to 3, disks on 4",
               "xenpv-evtchn balance --policy 'pin:vif*=0-3;blkif=4' --apply")
      .flag("--plan", words.plan, "only say what would move (the default)")
      .flag("--apply", words.apply, "move it; needs root")
      .option("--policy POLICY", words.wish, "spread, numa or pin:NAME=CPUS;...",
              diag::parse_balance_policy, {.by_default = "spread"})
      .option("--interval TIME", words.interval, "how long to count; 0 takes all events since boot",
              parse_duration, {.by_default = "1s"})
      .offers_json(words.json);
  offer_root(command, words.root);
  command.action([](std::ostream& out) { return balance(words, out); });
}

}  // namespace xenpv::evtchn_app
