#include "channels/irq_move.hpp"

#include <fmt/format.h>

#include <cerrno>

#include "channels/irq_files.hpp"
#include "channels/rates.hpp"
#include "xenpv/async/irq_affinity.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::channels {

std::string describe_refusal(int error, unsigned irq) {
  auto reason = describe_errno(error);
  if (error == EIO) return reason + " (a per-CPU channel cannot move)";
  if (error == EPERM)
    return reason + " (without the callback vector all events of an HVM guest go to vCPU 0)";
  if (error == EACCES) return reason + " (root is required)";
  if (error == EINVAL) return reason + " (none of the CPUs is online)";
  if (error == ENOENT) return fmt::format("interrupt {} no longer exists", irq);
  return reason;
}

std::string_view to_string(move_verdict verdict) noexcept {
  switch (verdict) {
    case move_verdict::proven:
      return "proven";
    case move_verdict::set:
      return "set";
    case move_verdict::elsewhere:
      return "elsewhere";
    case move_verdict::refused:
      return "refused";
  }
  return "invalid";
}

irq_move move_irq(const system_root& root, unsigned irq, const std::vector<unsigned>& cpus) {
  irq_move out{.irq = irq, .cpus = cpus};
  out.error = async::write_irq_affinity(root, irq, cpus);
  const auto affinity = read_irq_affinity(root, irq);
  out.allowed = affinity.allowed;
  out.effective = affinity.effective;
  out.verdict = out.error == 0 ? move_verdict::set : move_verdict::refused;
  return out;
}

void judge_move(irq_move& move, const interrupt_table& before, const interrupt_table& after) {
  if (move.verdict == move_verdict::refused) return;
  const auto grown = growth_of(before, after, move.irq, move.cpus);
  if (!grown) return;
  move.grown_there = grown->there;
  move.grown_elsewhere = grown->elsewhere;
  if (move.grown_elsewhere > 0)
    move.verdict = move_verdict::elsewhere;
  else if (move.grown_there > 0)
    move.verdict = move_verdict::proven;
}

}  // namespace xenpv::channels
