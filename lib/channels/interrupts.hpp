// Parses /proc/interrupts of any kernel and architecture. Pure: reads no files. Not specific to
// Xen; channel_kind.hpp adds the Xen parts.
//
// The text is the output of show_interrupts() in kernel/irq/proc.c: a header with the online CPUs,
// then rows "LABEL: COUNT... TAIL". The tail of a numbered row contains the chip, the hardware IRQ
// if the interrupt has an IRQ domain, Level or Edge on some architectures, "-" and the flow
// handler, and the names of the actions (interrupt handlers). Older kernels write chip and handler
// as one word, and XenLinux before 2.6.24 omits the handler. Other rows end with a description.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::channels {

/// The trigger column, which only kernels with GENERIC_IRQ_SHOW_LEVEL print (ARM, PowerPC; not
/// x86).
enum class interrupt_trigger { unsaid, level, edge };

struct interrupt_row {
  std::string label = {};            ///< "24", "HYP", "IPI0"
  std::optional<unsigned> irq = {};  ///< set if the label is a number
  /// One count per CPU, in the order of the table's CPUs. Rows such as ERR and MIS have a single
  /// count for all CPUs.
  std::vector<std::uint64_t> counts = {};
  std::string chip = {};  ///< "xen-percpu"; empty in rows without a number
  std::optional<std::uint64_t> hwirq = {};
  interrupt_trigger trigger = interrupt_trigger::unsaid;
  std::string handler = {};               ///< "virq", "ipi", "event", "fasteoi"
  std::vector<std::string> actions = {};  ///< handler names: "timer0", "evtchn:xenstored"
  std::string description = {};           ///< "Hypervisor callback interrupts"

  /// The actions in kernel format: "a, b".
  [[nodiscard]] std::string name() const;
  [[nodiscard]] std::uint64_t total() const noexcept;
};

[[nodiscard]] std::uint64_t sum_of(const std::vector<std::uint64_t>& counts) noexcept;
/// Adds `counts` to `sums`, column by column; ignores columns that `sums` lacks.
void add_counts(std::vector<std::uint64_t>& sums,
                const std::vector<std::uint64_t>& counts) noexcept;

struct interrupt_table {
  std::vector<unsigned> cpus = {};  ///< one CPU per column; offline CPUs have no column
  std::vector<interrupt_row> rows = {};
  /// Lines that cannot be parsed, each with its parse error. `rows` contains only valid rows.
  std::vector<std::string> problems = {};

  /// Returns nullptr if there is no such row.
  [[nodiscard]] const interrupt_row* find(std::string_view label) const noexcept;
  [[nodiscard]] const interrupt_row* find(unsigned irq) const noexcept;
};

/// Fails only if the header line with the CPUs is missing.
[[nodiscard]] result<interrupt_table> parse_interrupts(std::string_view text);

}  // namespace xenpv::channels
