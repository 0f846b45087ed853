#include "channels/irq_move.hpp"

#include <fmt/format.h>

#include <cerrno>

#include "base/enum_name.hpp"
#include "channels/channel_kind.hpp"
#include "channels/irq_files.hpp"
#include "channels/rates.hpp"
#include "channels/raw_facts.hpp"
#include "xenpv/async/irq_affinity.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::channels {

namespace {

bool is_per_cpu(const system_root& root, unsigned irq) {
  const auto table = read_interrupts(root);
  const auto* const row = table.value ? table.value->find(irq) : nullptr;
  return row != nullptr && channels::is_per_cpu(*row);
}

}  // namespace

std::string describe_refusal(const irq_move& move) {
  auto reason = describe_errno(move.error);
  // For an interrupt whose affinity cannot be set, Linux 6.1 returns EIO and Linux 6.12 EPERM.
  if (move.error == EIO || (move.error == EPERM && move.per_cpu))
    return reason + " (a per-CPU channel cannot move)";
  if (move.error == EPERM)
    return reason + " (without the callback vector, all events of an HVM guest go to vCPU 0)";
  if (move.error == EACCES) return reason + " (root is required)";
  if (move.error == EINVAL) return reason + " (none of the CPUs is online)";
  if (move.error == ENOENT) return fmt::format("interrupt {} no longer exists", move.irq);
  return reason;
}

std::string_view to_string(move_verdict verdict) noexcept {
  return enum_name<move_verdict::refused>(verdict, "proven", "set", "elsewhere", "refused");
}

irq_move move_irq(const system_root& root, unsigned irq, const std::vector<unsigned>& cpus) {
  irq_move out{.irq = irq, .cpus = cpus};
  out.error = async::write_irq_affinity(root, irq, cpus);
  const auto affinity = read_irq_affinity(root, irq);
  out.allowed = affinity.allowed;
  out.effective = affinity.effective;
  out.verdict = out.error == 0 ? move_verdict::set : move_verdict::refused;
  if (out.verdict == move_verdict::refused) out.per_cpu = is_per_cpu(root, irq);
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
