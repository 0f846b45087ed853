#include "doctor/row_table.hpp"

#include <array>

namespace xenpv::doctor {
namespace {

constexpr std::array rows = {
    row_description{"domain", "The kind of domain, Xen's version, and the kernel."},
    row_description{"upcall",
                    "How events reach the kernel: callback, vector, or an emulated PCI "
                    "interrupt."},
    row_description{"upcall-vcpu", "Whether each vCPU has its own event vector."},
    row_description{"timer", "Whether the PV timer fires on each CPU, instead of an emulated one."},
    row_description{"timer-slop", "The timer slop of old kernels, which delays the PV timer."},
    row_description{"clocksource",
                    "Whether the current clocksource is the best one for this host."},
    row_description{"clock-read",
                    "The cost of a clock read, and whether it requires a system call."},
    row_description{"ipi", "Whether IPIs between vCPUs are event channels."},
    row_description{"spread", "Whether event channels are spread over the CPUs."},
    row_description{"event-abi", "The event-channel ABI: FIFO or two-level."},
    row_description{"event-channels", "Event channels in use, compared with the limits."},
    row_description{"gntalloc", "Whether user space can grant pages, and how many are left."},
    row_description{"gntdev", "Whether other domains' grants can be mapped."},
    row_description{"disk-DISK",
                    "The features that the frontend and backend of a PV disk negotiated."},
    row_description{
        "flush-DISK",
        "Present only for a PV disk whose backend offers no way to make writes durable."},
    row_description{"back-ends", "Spurious events that this domain's own backends report."},
    row_description{"steal",
                    "Time during which a vCPU was ready, but the hypervisor ran another one."},
    row_description{"migration",
                    "Evidence of a save, restore or migration, and processes that may have dead "
                    "event channels open."},
    row_description{"hypercalls", "Whether this process can make hypercalls."},
    row_description{"devices", "The device nodes below /dev/xen."},
    row_description{"timer-latency",
                    "With --measure: timer lateness, verified by interrupt counts."},
    row_description{"ipi-latency", "With --measure: IPI latency, verified by interrupt counts."},
};

}  // namespace

std::span<const row_description> row_table() noexcept {
  return rows;
}

const row_description* find_row(std::string_view id) noexcept {
  for (const auto& row : rows) {
    const auto prefix = row.id.substr(0, row.id.find("DISK"));
    if (id == row.id || (prefix.size() < row.id.size() && id.starts_with(prefix))) return &row;
  }
  return nullptr;
}

}  // namespace xenpv::doctor
