#include "moves.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <thread>

#include "xenpv/async/cpu_set.hpp"
#include "xenpv/diag/readings.hpp"

namespace xenpv::evtchn_app {
namespace {

cli::json cpus_json(const std::optional<std::vector<unsigned>>& cpus) {
  return cpus ? cli::json(*cpus) : cli::json();
}

}  // namespace

std::vector<diag::irq_move> make_moves(const system_root& root,
                                       const std::vector<wanted_move>& moves,
                                       std::chrono::nanoseconds proof_time) {
  std::vector<diag::irq_move> out;
  out.reserve(moves.size());
  for (const auto& each : moves)
    out.push_back(diag::move_irq(root, each.irq, each.cpus));
  if (proof_time.count() == 0) return out;
  const auto before = diag::read_interrupts(root);
  std::this_thread::sleep_for(proof_time);
  const auto after = diag::read_interrupts(root);
  if (before.value && after.value)
    for (auto& each : out)
      diag::judge_move(each, *before.value, *after.value);
  return out;
}

std::string proof_text(const diag::irq_move& move) {
  switch (move.verdict) {
    case diag::move_verdict::refused:
      return diag::describe_refusal(move.error, move.irq);
    case diag::move_verdict::proven:
      return fmt::format("{} events came there, none elsewhere", move.grown_there);
    case diag::move_verdict::elsewhere:
      return fmt::format("{} of {} events came elsewhere", move.grown_elsewhere,
                         move.grown_there + move.grown_elsewhere);
    case diag::move_verdict::set:
      break;
  }
  return "no event came to prove it";
}

cli::json to_json(const diag::irq_move& move) {
  return {{"irq", move.irq},
          {"cpus", move.cpus},
          {"verdict", to_string(move.verdict)},
          {"reason", proof_text(move)},
          {"affinity", cpus_json(move.allowed)},
          {"effective_affinity", cpus_json(move.effective)},
          {"events_there", move.grown_there},
          {"events_elsewhere", move.grown_elsewhere}};
}

bool all_good(const std::vector<diag::irq_move>& moves) noexcept {
  return std::none_of(moves.begin(), moves.end(), [](const diag::irq_move& each) {
    return each.verdict == diag::move_verdict::refused ||
           each.verdict == diag::move_verdict::elsewhere;
  });
}

void warn_of_irqbalance(const system_root& root) {
  for (const auto& name : root.names("/proc")) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (root.read(fmt::format("/proc/{}/comm", name)) != "irqbalance") continue;
    std::cerr << fmt::format(
        "irqbalance runs here (process {}) and will move interrupts as it likes\n", name);
    return;
  }
}

}  // namespace xenpv::evtchn_app
