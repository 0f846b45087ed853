// Carrying out moves of interrupts and telling what came of them; for balance and affinity.
#pragma once

#include <chrono>
#include <iosfwd>
#include <string>
#include <vector>

#include "xenpv/cli/json.hpp"
#include "xenpv/diag/irq_move.hpp"

namespace xenpv::evtchn_app {

struct wanted_move {
  unsigned irq = 0;
  std::vector<unsigned> cpus = {};
};

/// Writes, re-reads, waits `proof_time` and looks which columns grew. With 0 nothing is proven.
[[nodiscard]] std::vector<diag::irq_move> make_moves(const system_root& root,
                                                     const std::vector<wanted_move>& moves,
                                                     std::chrono::nanoseconds proof_time);

/// "257 events on CPU 1", "Input/output error (a channel of one CPU cannot move)".
[[nodiscard]] std::string proof_text(const diag::irq_move& move);
[[nodiscard]] cli::json to_json(const diag::irq_move& move);
/// None was refused, and none came elsewhere.
[[nodiscard]] bool all_good(const std::vector<diag::irq_move>& moves) noexcept;

/// To standard error, if irqbalance runs: it will move interrupts again.
void warn_of_irqbalance(const system_root& root);

}  // namespace xenpv::evtchn_app
