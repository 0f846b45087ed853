#include "channels/balance.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <ostream>
#include <thread>

#include "channels/rates.hpp"
#include "cli/json.hpp"
#include "cli/table.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "moves.hpp"
#include "place.hpp"

namespace xenpv::evtchn_app {
namespace {

struct balance_options {
  std::string root;
  bool plan = false;
  bool apply = false;
  channels::balance_wish policy;
  std::chrono::nanoseconds interval{};
  bool json = false;
};

struct balance_report {
  channels::balance_input input;
  std::vector<channels::planned_move> plan;
  std::vector<std::uint64_t> events_before;   ///< per CPU
  std::vector<std::uint64_t> events_planned;  ///< per CPU, after the moves
  bool since_boot = false;                    ///< weights are totals since boot, not deltas
  std::vector<channels::irq_move> done;
};

channels::rate_report rates_within(const system_root& root, std::chrono::nanoseconds interval) {
  const auto before = channels::read_interrupts(root);
  std::this_thread::sleep_for(interval);
  const auto after = channels::read_interrupts(root);
  if (!before.value || !after.value) return {};
  return channels::rates_between(*before.value, *after.value, interval);
}

balance_report make_plan(const balance_options& options, const channels::fact_source& source) {
  balance_report out;
  out.since_boot = source.is_capture || options.interval.count() == 0;
  channels::rate_report rates;
  if (!out.since_boot) rates = rates_within(source.root, options.interval);
  // Read the inventory after the interval: the plan depends on the current placement.
  const auto guest = take_guest(source);
  const auto& inventory = guest.channels;
  if (!guest.from.interrupts.value)
    throw failure(errc::not_available, "count events", guest.from.interrupts.problem);
  // Rows that cannot be parsed are not moved; the others can be.
  print_problems(inventory.problems);
  out.input = channels::make_balance_input(inventory, out.since_boot
                                                          ? channels::events_since_boot(inventory)
                                                          : channels::events_in(rates, inventory));
  out.input.nodes = channels::read_numa_nodes(source.root);
  auto plan = channels::plan_balance(out.input, options.policy);
  if (!plan) throw failure(plan.error());
  out.plan = std::move(*plan);
  out.events_before = channels::events_after(out.input, {});
  out.events_planned = channels::events_after(out.input, out.plan);
  return out;
}

void print_table(std::ostream& out, const balance_report& report) {
  using cli::column;
  using cli::right_column;
  const bool applied = !report.done.empty();
  std::vector<cli::column> columns = {right_column("IRQ"),    column{"NAME"},
                                      right_column("FROM"),   right_column("TO"),
                                      right_column("EVENTS"), column{"WHY"}};
  if (applied) columns.insert(columns.end(), {{"RESULT"}, {"PROOF"}});
  cli::table table(std::move(columns));
  for (std::size_t i = 0; i < report.plan.size(); ++i) {
    const auto& move = report.plan[i];
    std::vector<std::string> result;
    if (applied)
      result = cli::cells_of(to_string(report.done[i].verdict), proof_text(report.done[i]));
    table.add_row(
        cli::cells_of(move.irq, move.name, move.from, move.to, move.events, move.reason, result));
  }
  if (!table.empty()) table.print(out);
}

cli::json document_of(const balance_report& report) {
  auto document = cli::json_document("xenpv-evtchn.balance", 1);
  document["weights"] = report.since_boot ? "events since boot" : "events in the interval";
  document["cpus"] = report.input.cpus;
  document["events_before"] = report.events_before;
  document["events_planned"] = report.events_planned;
  document["balance_before"] = channels::balance_of(report.events_before);
  document["balance_planned"] = channels::balance_of(report.events_planned);
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

/// Suggests an interval in which enough events arrive at the counted rate, with a margin.
std::string longer_interval(std::uint64_t events, std::chrono::nanoseconds interval) {
  constexpr std::uint64_t longest = 600;
  const auto seconds = std::chrono::duration<double>(interval).count() * 1.5 *
                       static_cast<double>(channels::enough_events) /
                       static_cast<double>(std::max<std::uint64_t>(events, 1));
  if (seconds > static_cast<double>(longest)) return "a longer --interval";
  return fmt::format("--interval {}s", static_cast<std::uint64_t>(seconds) + 1);
}

void print_few_events(const balance_report& report, std::chrono::nanoseconds interval) {
  const auto events = channels::movable_events(report.input);
  std::cerr << fmt::format(
      "{} event{} of channels that can move {} too few to plan moves: at least {} are "
      "required{}\n",
      events, events == 1 ? "" : "s", events == 1 ? "is" : "are", channels::enough_events,
      report.since_boot ? "" : fmt::format("; use {}", longer_interval(events, interval)));
}

void print_summary(const balance_report& report, const balance_options& options) {
  std::cerr << fmt::format(
      "balance {:.2f} now, {:.2f} with {} moves (1 is even; {})\n",
      channels::balance_of(report.events_before), channels::balance_of(report.events_planned),
      report.plan.size(),
      report.since_boot ? "based on the events since boot" : "based on the events in the interval");
  const bool has_wrapped =
      std::ranges::any_of(report.input.channels, [](const channels::balance_channel& channel) {
        return channel.can_move && channels::may_have_wrapped(channel.counts);
      });
  if (has_wrapped)
    std::cerr << "the 32-bit counters may have wrapped since boot: use an --interval\n";
  if (options.policy.policy != channels::balance_policy::pin &&
      channels::movable_events(report.input) < channels::enough_events)
    print_few_events(report, options.interval);
}

cli::exit_code balance(const balance_options& options, std::ostream& out) {
  if (options.plan && options.apply)
    throw failure(errc::invalid_argument, "--plan and --apply", "choose one");
  const auto source = channels::place_at(options.root);
  if (options.apply && source.is_capture)
    throw failure(errc::invalid_argument, "--apply with a capture", "omit --root or --apply");
  auto report = make_plan(options, source);
  if (options.apply) {
    std::vector<move_request> requests;
    for (const auto& move : report.plan)
      requests.push_back({.irq = move.irq, .cpus = {move.to}});
    report.done = make_moves(source.root, requests, options.interval);
    warn_about_irqbalance(source.root);
  }
  if (options.json)
    cli::print_json(out, document_of(report));
  else
    print_table(out, report);
  out.flush();
  print_summary(report, options);
  return all_succeeded(report.done) ? cli::exit_code::ok : cli::exit_code::failed;
}

}  // namespace

void add_balance(cli::app& app) {
  static balance_options options;
  auto& command = app.add_command("balance", "spread event channels over the CPUs");
  command
      .describe(
          "Counts events for an interval, then plans moves of channels from the busiest CPU to the "
          "idlest, as long as they improve the balance, and prints the reason for each: the shares "
          "that were counted. Timers and IPIs are bound to their CPU and count only as its load. "
          "Channels without events are not moved, and nothing is moved for fewer than 10000 "
          "events. "
          "Nothing is changed without --apply.")
      .describe(
          "--apply writes the affinities, reads them back, and compares the counts over an "
          "interval of the same length: each move is proven, set (no event arrived), elsewhere, or "
          "refused by the kernel. The exit status is 1 if a move was refused or its events arrived "
          "elsewhere.")
      .describe(
          "Policies: spread distributes channels over all CPUs; numa does so within each NUMA "
          "node; pin:NAME=CPUS;... assigns channels whose name matches a pattern to these CPUs, "
          "round robin.")
      .example("show the plan, then apply it", "xenpv-evtchn balance; xenpv-evtchn balance --apply")
      .example("network queues on CPUs 0 to 3, disks on 4",
               "xenpv-evtchn balance --policy 'pin:vif*=0-3;blkif=4' --apply")
      .flag("--plan", options.plan, "only print the plan (the default)")
      .flag("--apply", options.apply, "make the moves; requires root")
      .option("--policy POLICY", options.policy, "spread, numa or pin:NAME=CPUS;...",
              channels::parse_balance_policy, {.by_default = "spread"})
      .option("--interval TIME", options.interval,
              "how long to count; 0: use all events since boot", parse_duration,
              {.by_default = "1s"})
      .offers_json(options.json);
  add_root_option(command, options.root);
  command.action([](std::ostream& out) { return balance(options, out); });
}

}  // namespace xenpv::evtchn_app
