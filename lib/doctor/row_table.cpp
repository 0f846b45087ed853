#include "doctor/row_table.hpp"

#include <array>

#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

constexpr auto all_rows = std::to_array<row_description>({
    {"domain", "The domain type, the Xen version and the kernel.", check_domain, true},
    {"unparsed", "Present only if lines of /proc/interrupts cannot be parsed.", check_unparsed,
     true},
    {"upcall", "How events reach the kernel: callback, vector, or an emulated PCI interrupt.",
     check_upcall},
    {"upcall-vcpu", "Whether each vCPU has its own event vector."},
    {"timer", "Whether the PV timer, not an emulated one, fires on each CPU.", check_timer},
    {"timer-slop", "The timer slop of old kernels, which delays the PV timer."},
    {"clocksource", "Whether the current clocksource is the best one for this host.", check_clock,
     true},
    {"clock-read", "The cost of a clock read, and whether it requires a system call."},
    {"ipi", "Whether IPIs between vCPUs use event channels.", check_ipis},
    {"spread", "Whether event channels are spread over the CPUs.", check_spread},
    {"event-abi", "The event-channel ABI: FIFO or two-level.", check_channels},
    {"event-channels", "Event channels in use, compared with the limits."},
    {"disk-DISK", "The features that a PV disk's frontend and backend negotiated.", check_disks},
    {"flush-DISK", "Present only for a PV disk whose backend offers neither flush nor barrier."},
    {"device-DEVICE", "Whether a PV device other than a disk is connected, or why not.",
     check_frontends},
    {"back-ends", "States and spurious events of this domain's backends.", check_back_ends},
    {"gntalloc", "Whether user space can grant pages, and how many are left.", check_grants},
    {"gntdev", "Whether other domains' grants can be mapped."},
    {"steal", "Time during which a vCPU was ready but the hypervisor did not run it.", check_steal,
     true},
    {"log-platform", "Present only if the kernel found no Xen platform device.", check_kernel_log},
    {"grant-table", "Present only if the kernel reported a full grant table or leaked grants."},
    {"log-disks", "Present only if PV disks had I/O errors or their backend refused operations."},
    {"log-xenbus",
     "Present only if PV devices had errors, timeouts or no driver, according to the log.",
     check_log_devices},
    {"log-pci", "Present only if the PCI frontend reported errors."},
    {"log-crash", "Present only if the kernel crashed in Xen's code or found no root disk or init.",
     check_log_crash},
    {"log-stalls", "Present only if a CPU or task stalled in a PV driver."},
    {"log-clock", "Present only if the kernel reported trouble with a clocksource.",
     check_log_clock},
    {"migration",
     "Evidence of a save, restore or migration, and processes that may have dead "
     "event channels open.",
     check_migration},
    {"devices", "The device nodes below /dev/xen.", check_devices},
    {"hypercalls", "Whether this process can make hypercalls."},
    {"timer-latency", "With --measure: timer lateness, verified by interrupt counts."},
    {"ipi-latency", "With --measure: IPI latency, verified by interrupt counts."},
});

}  // namespace

std::span<const row_description> row_table() noexcept {
  return all_rows;
}

const row_description* find_row(std::string_view id) noexcept {
  for (const auto& row : all_rows) {
    const auto prefix = row.id.substr(0, row.id.find_first_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
    if (id == row.id || (prefix.size() < row.id.size() && id.starts_with(prefix))) return &row;
  }
  return nullptr;
}

}  // namespace xenpv::doctor
