#include "moves.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <thread>

#include "channels/raw_facts.hpp"
#include "xenpv/async/cpu_set.hpp"

namespace xenpv::evtchn_app {

std::vector<channels::irq_move> make_moves(const system_root& root,
                                           const std::vector<move_request>& requests,
                                           std::chrono::nanoseconds proof_time) {
  std::vector<channels::irq_move> out;
  out.reserve(requests.size());
  for (const auto& request : requests)
    out.push_back(channels::move_irq(root, request.irq, request.cpus));
  if (proof_time.count() == 0) return out;
  const auto before = channels::read_interrupts(root);
  std::this_thread::sleep_for(proof_time);
  const auto after = channels::read_interrupts(root);
  if (before.value && after.value)
    for (auto& move : out)
      channels::judge_move(move, *before.value, *after.value);
  return out;
}

std::string proof_text(const channels::irq_move& move) {
  switch (move.verdict) {
    case channels::move_verdict::refused:
      return channels::describe_refusal(move);
    case channels::move_verdict::proven:
      return fmt::format("{} events arrived there, none elsewhere", move.grown_there);
    case channels::move_verdict::elsewhere:
      return fmt::format("{} of {} events arrived elsewhere", move.grown_elsewhere,
                         move.grown_there + move.grown_elsewhere);
    case channels::move_verdict::set:
      break;
  }
  return "no event arrived to prove it";
}

cli::json to_json(const channels::irq_move& move) {
  return {{"irq", move.irq},
          {"cpus", move.cpus},
          {"verdict", to_string(move.verdict)},
          {"reason", proof_text(move)},
          {"affinity", cli::or_null(move.allowed)},
          {"effective_affinity", cli::or_null(move.effective)},
          {"events_there", move.grown_there},
          {"events_elsewhere", move.grown_elsewhere}};
}

bool all_succeeded(const std::vector<channels::irq_move>& moves) noexcept {
  return std::ranges::none_of(moves, [](const channels::irq_move& move) {
    return move.verdict == channels::move_verdict::refused ||
           move.verdict == channels::move_verdict::elsewhere;
  });
}

void warn_about_irqbalance(const system_root& root) {
  for (const auto& name : root.names("/proc")) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (root.read(fmt::format("/proc/{}/comm", name)) != "irqbalance") continue;
    std::cerr << fmt::format("irqbalance is running (process {}) and will move interrupts again\n",
                             name);
    return;
  }
}

}  // namespace xenpv::evtchn_app
