// Moves interrupts and reports the results. Used by balance and affinity.
#pragma once

#include <chrono>
#include <iosfwd>
#include <string>
#include <vector>

#include "channels/irq_move.hpp"
#include "cli/json.hpp"

namespace xenpv::evtchn_app {

struct move_request {
  unsigned irq = 0;
  std::vector<unsigned> cpus = {};
};

/// Writes and re-reads the affinities, waits for `proof_time` and compares the counts. If
/// `proof_time` is 0, skips the wait and the comparison.
[[nodiscard]] std::vector<channels::irq_move> make_moves(const system_root& root,
                                                         const std::vector<move_request>& requests,
                                                         std::chrono::nanoseconds proof_time);

/// Describes the proof of the move or the reason for its failure: "257 events arrived there, none
/// elsewhere", "input/output error (a per-CPU channel cannot move)".
[[nodiscard]] std::string proof_text(const channels::irq_move& move);
[[nodiscard]] cli::json to_json(const channels::irq_move& move);
/// True if no move was refused and no events arrived elsewhere.
[[nodiscard]] bool all_succeeded(const std::vector<channels::irq_move>& moves) noexcept;

/// Warns on stderr if irqbalance is running: it will move interrupts again.
void warn_about_irqbalance(const system_root& root);

}  // namespace xenpv::evtchn_app
