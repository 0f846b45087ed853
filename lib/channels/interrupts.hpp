// Parses /proc/interrupts of any kernel and architecture. Pure: reads no files. Contains nothing
// specific to Xen; see channel_kind.hpp for that.
//
// The text is the output of show_interrupts() in kernel/irq/proc.c: a header with the online CPUs,
// then rows "LABEL: COUNT... TAIL". The tail of a numbered row contains the chip, the hardware IRQ
// if the interrupt has an IRQ domain, Level or Edge on some architectures, "-" and the flow
// handler, and the names of the actions (interrupt handlers). Older kernels write chip and handler
// as one word. Other rows end with a description.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::channels {

/// The column that GENERIC_IRQ_SHOW_LEVEL adds (ARM, PowerPC); x86 has none.
enum class interrupt_trigger { unsaid, level, edge };

struct interrupt_row {
  std::string label = {};            ///< "24", "HYP", "IPI0"
  std::optional<unsigned> irq = {};  ///< set when the label is a number
  /// In the order of the table's CPUs. Rows such as ERR and MIS have one count for all CPUs.
  std::vector<std::uint64_t> counts = {};
  std::string chip = {};  ///< "xen-percpu"; empty in rows without a number
  std::optional<std::uint64_t> hwirq = {};
  interrupt_trigger trigger = interrupt_trigger::unsaid;
  std::string handler = {};               ///< "virq", "ipi", "event", "fasteoi"
  std::vector<std::string> actions = {};  ///< names of the handlers: "timer0", "evtchn:xenstored"
  std::string description = {};           ///< "Hypervisor callback interrupts"

  /// Actions as the kernel writes them: "a, b".
  [[nodiscard]] std::string name() const;
  [[nodiscard]] std::uint64_t total() const noexcept;
};

[[nodiscard]] std::uint64_t sum_of(const std::vector<std::uint64_t>& counts) noexcept;
/// Adds the counts to those of the same columns in `sums`; ignores columns that it lacks.
void add_counts(std::vector<std::uint64_t>& sums,
                const std::vector<std::uint64_t>& counts) noexcept;

struct interrupt_table {
  std::vector<unsigned> cpus = {};  ///< the columns; an offline CPU has none
  std::vector<interrupt_row> rows = {};
  /// Invalid lines, each with its error. The remaining rows are valid.
  std::vector<std::string> problems = {};

  /// nullptr if there is no such row.
  [[nodiscard]] const interrupt_row* find(std::string_view label) const noexcept;
  [[nodiscard]] const interrupt_row* find(unsigned irq) const noexcept;
};

/// Fails only if the header with the CPUs is missing.
[[nodiscard]] result<interrupt_table> parse_interrupts(std::string_view text);

}  // namespace xenpv::channels
