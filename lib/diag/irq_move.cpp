#include "xenpv/diag/irq_move.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/diag/irq_files.hpp"
#include "xenpv/diag/rates.hpp"

namespace xenpv::diag {

int write_irq_affinity(const system_root& root, unsigned irq, const std::vector<unsigned>& cpus) {
  const auto path = root.path(fmt::format("/proc/irq/{}/smp_affinity_list", irq));
  const auto text = async::format_cpu_list(cpus) + "\n";
  const unique_fd file(::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!file) return errno;
  const auto written = ::write(file.get(), text.data(), text.size());
  if (written < 0) return errno;
  return static_cast<std::size_t>(written) == text.size() ? 0 : EIO;
}

std::string describe_refusal(int error, unsigned irq) {
  auto why = describe_errno(error);
  if (error == EIO) return why + " (a channel of one CPU cannot move)";
  if (error == EPERM)
    return why + " (without the callback vector all events of an HVM guest go to vCPU 0)";
  if (error == EACCES) return why + " (needs root)";
  if (error == EINVAL) return why + " (none of the CPUs is online)";
  if (error == ENOENT) return fmt::format("interrupt {} is gone", irq);
  return why;
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
  out.error = write_irq_affinity(root, irq, cpus);
  const auto now = read_irq_affinity(root, irq);
  out.allowed = now.allowed;
  out.effective = now.effective;
  out.verdict = out.error == 0 ? move_verdict::set : move_verdict::refused;
  return out;
}

void judge_move(irq_move& move, const interrupt_table& before, const interrupt_table& after) {
  const auto* then = before.find(move.irq);
  const auto* now = after.find(move.irq);
  if (move.verdict == move_verdict::refused || then == nullptr || now == nullptr) return;
  move.grown_there = move.grown_elsewhere = 0;
  for (std::size_t column = 0; column < after.cpus.size(); ++column) {
    const auto cpu = after.cpus[column];
    const auto grown = growth(count_on(before, *then, cpu), now->counts[column]);
    const bool wanted = std::find(move.cpus.begin(), move.cpus.end(), cpu) != move.cpus.end();
    (wanted ? move.grown_there : move.grown_elsewhere) += grown;
  }
  if (move.grown_elsewhere > 0)
    move.verdict = move_verdict::elsewhere;
  else if (move.grown_there > 0)
    move.verdict = move_verdict::proven;
}

}  // namespace xenpv::diag
