#include "xenpv/async/irq_affinity.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <iterator>
#include <string>
#include <utility>

#include "base/parse.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::async {
namespace {

std::vector<std::string_view> split_fields(std::string_view line) {
  std::vector<std::string_view> fields;
  for (const auto field : split(line, ' ')) {
    if (!field.empty()) fields.push_back(field);
  }
  return fields;
}

/// "           CPU0       CPU2" -> {0, 2}
std::vector<unsigned> header_cpus(std::string_view line) {
  std::vector<unsigned> cpus;
  for (const auto field : split_fields(line)) {
    if (!field.starts_with("CPU")) continue;
    if (const auto cpu = parse_whole<unsigned>(field.substr(3))) cpus.push_back(*cpu);
  }
  return cpus;
}

std::optional<std::vector<cpu_count>> read_counts(const system_root& root, unsigned irq) {
  const auto text = root.read("/proc/interrupts");
  if (!text) return std::nullopt;
  auto counts = parse_irq_counts(*text, irq);
  if (!counts) return std::nullopt;
  return std::move(*counts);
}

std::uint64_t count_of(std::span<const cpu_count> counts, unsigned cpu) {
  const auto column = std::find_if(counts.begin(), counts.end(),
                                   [cpu](const cpu_count& entry) { return entry.cpu == cpu; });
  return column == counts.end() ? 0 : column->count;
}

irq_mover& chosen_mover() {
  static irq_mover mover;
  return mover;
}

int write_one_cpu(const system_root& root, unsigned irq, unsigned cpu) {
  if (chosen_mover()) return chosen_mover()(irq, cpu);
  const std::array cpus{cpu};
  return write_irq_affinity(root, irq, cpus);
}

irq_placement move_irq(const system_root& root, irq_placement placement) {
  const auto folder = fmt::format("/proc/irq/{}", *placement.irq);
  if (const int error = write_one_cpu(root, *placement.irq, placement.cpu); error != 0) {
    placement.reason = fmt::format("write {} to {}/smp_affinity_list: {}", placement.cpu, folder,
                                   describe_errno(error));
    return placement;
  }
  placement.status = irq_placement_status::set;
  placement.reason = "no events counted yet";
  const auto effective = root.read(folder + "/effective_affinity_list");
  if (effective && *effective != fmt::format("{}", placement.cpu))
    placement.reason = fmt::format("the kernel reports CPU {}", *effective);
  if (auto counts = read_counts(root, *placement.irq)) placement.baseline = *std::move(counts);
  return placement;
}

}  // namespace

std::string_view to_string(irq_placement_status status) noexcept {
  switch (status) {
    case irq_placement_status::verified:
      return "verified";
    case irq_placement_status::set:
      return "set";
    case irq_placement_status::unavailable:
      return "unavailable";
  }
  return "unknown";
}

result<std::vector<cpu_count>> parse_irq_counts(std::string_view interrupts, unsigned irq) {
  const auto lines = split(interrupts, '\n');
  const auto cpus = header_cpus(lines.front());
  const auto label = fmt::format("{}:", irq);
  for (const auto line : lines) {
    const auto row = split_fields(line);
    if (row.empty() || row.front() != label) continue;
    std::vector<cpu_count> counts;
    for (std::size_t column = 0; column < cpus.size(); ++column) {
      const auto count = column + 1 < row.size() ? parse_whole<std::uint64_t>(row[column + 1])
                                                 : std::optional<std::uint64_t>();
      if (!count)
        return make_error(errc::protocol_violation, fmt::format("read the row of IRQ {}", irq),
                          fmt::format("no count for CPU {}", cpus[column]));
      counts.push_back({cpus[column], *count});
    }
    return counts;
  }
  return make_error(errc::not_available, fmt::format("find IRQ {} in /proc/interrupts", irq));
}

std::vector<unsigned> find_irqs(const system_root& root, std::string_view action) {
  std::vector<unsigned> irqs;
  for (const auto& name : root.names("/sys/kernel/irq")) {
    const auto irq = parse_whole<unsigned>(name);
    if (irq && root.read(fmt::format("/sys/kernel/irq/{}/actions", name)) == action)
      irqs.push_back(*irq);
  }
  std::sort(irqs.begin(), irqs.end());
  return irqs;
}

int write_irq_affinity(const system_root& root, unsigned irq, std::span<const unsigned> cpus) {
  // The systemd units make /proc/irq read-only, with a writable copy elsewhere.
  const auto* const copy = root.is_real() ? std::getenv("XENPV_IRQ_DIRECTORY") : nullptr;
  const auto folder = copy == nullptr ? root.path("/proc/irq").string() : std::string(copy);
  const auto path = fmt::format("{}/{}/smp_affinity_list", folder, irq);
  const auto text = format_cpu_list(cpus) + "\n";
  const unique_fd file(::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!file) return errno;
  const auto written = ::write(file.get(), text.data(), text.size());
  if (written < 0) return errno;
  return static_cast<std::size_t>(written) == text.size() ? 0 : EIO;
}

void set_irq_mover(irq_mover mover) {
  chosen_mover() = std::move(mover);
}

irq_placement place_new_irq(const system_root& root, std::span<const unsigned> before,
                            std::span<const unsigned> after, std::string_view action,
                            unsigned cpu) {
  std::vector<unsigned> fresh;
  std::set_difference(after.begin(), after.end(), before.begin(), before.end(),
                      std::back_inserter(fresh));
  irq_placement placement{.cpu = cpu};
  if (fresh.size() != 1) {
    placement.reason = fmt::format("{} new interrupts named {} in /sys/kernel/irq, expected one",
                                   fresh.size(), action);
    return placement;
  }
  placement.irq = fresh.front();
  return move_irq(root, std::move(placement));
}

irq_placement judge_irq_counts(irq_placement placement, std::vector<cpu_count> counts) {
  std::uint64_t here = 0;
  std::uint64_t elsewhere = 0;
  // Without a baseline, the counts do not prove anything: their age is unknown.
  if (placement.baseline.empty()) placement.baseline = counts;
  for (const auto& now : counts) {
    const auto grown = now.count - std::min(now.count, count_of(placement.baseline, now.cpu));
    (now.cpu == placement.cpu ? here : elsewhere) += grown;
  }
  if (elsewhere != 0) {
    placement.status = irq_placement_status::set;
    placement.reason = fmt::format("{} of {} events arrived on a CPU other than {}", elsewhere,
                                   here + elsewhere, placement.cpu);
  } else if (here != 0) {
    placement.status = irq_placement_status::verified;
    placement.reason = fmt::format("{} events, all on CPU {}", here, placement.cpu);
  }
  placement.baseline = std::move(counts);
  return placement;
}

irq_placement check_irq(const system_root& root, irq_placement placement) {
  if (!placement.irq || placement.status == irq_placement_status::unavailable) return placement;
  auto counts = read_counts(root, *placement.irq);
  if (!counts) {
    placement.status = irq_placement_status::set;
    placement.reason = fmt::format("no row for IRQ {} in /proc/interrupts", *placement.irq);
    return placement;
  }
  return judge_irq_counts(std::move(placement), *std::move(counts));
}

}  // namespace xenpv::async
