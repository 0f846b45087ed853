// Must precede any include of xen.h, which otherwise defines the event-channel hypercall number
// from before Xen 3.2.
// NOLINTNEXTLINE(bugprone-reserved-identifier): Xen's name
#define __XEN_INTERFACE_VERSION__ __XEN_LATEST_INTERFACE_VERSION__

#include "xen/port_status.hpp"

#include <fmt/format.h>

#include <cerrno>

#include "xen/hypercalls.hpp"

// Xen's headers do not declare their functions extern "C".
extern "C" {
#include <xen/event_channel.h>
}

static_assert(__HYPERVISOR_event_channel_op == 32, "the hypercall number since Xen 3.2");

namespace xenpv::xen {
namespace {

/// Size of the port space in the FIFO ABI: all port numbers are lower.
constexpr std::uint32_t port_limit = EVTCHN_FIFO_NR_CHANNELS;
constexpr std::string_view operation = "query the event channels";

[[noreturn]] void throw_refused(int error, domid domain) {
  throw_call_refused(error, domain == domid_self
                                ? std::string(operation)
                                : fmt::format("{} of domain {}", operation, domain));
}

std::optional<port_status> port_status_of(const evtchn_status_t& answer) {
  port_status out{.number = port{answer.port}, .vcpu = answer.vcpu};
  switch (answer.status) {
    case EVTCHNSTAT_unbound:
      out.type = port_type::unbound;
      out.remote_domain = domid{answer.u.unbound.dom};
      return out;
    case EVTCHNSTAT_interdomain:
      out.type = port_type::interdomain;
      out.remote_domain = domid{answer.u.interdomain.dom};
      out.remote_port = port{answer.u.interdomain.port};
      return out;
    case EVTCHNSTAT_pirq:
      out.type = port_type::pirq;
      out.number_of_irq = answer.u.pirq;
      return out;
    case EVTCHNSTAT_virq:
      out.type = port_type::virq;
      out.number_of_irq = answer.u.virq;
      return out;
    case EVTCHNSTAT_ipi:
      out.type = port_type::ipi;
      return out;
    default:
      return std::nullopt;
  }
}

}  // namespace

std::vector<port_status> read_port_status(domid domain, const system_root& root) {
  const auto calls = open_calls(root, operation);
  const auto buffer = make_call_buffer<evtchn_status_t>(calls);
  std::vector<port_status> out;
  bool answered = false;
  for (std::uint32_t number = 0; number < port_limit; ++number) {
    *buffer = {};
    buffer->dom = raw(domain);
    buffer->port = number;
    if (xencall2(calls.get(), __HYPERVISOR_event_channel_op, EVTCHNOP_status,
                 reinterpret_cast<std::uintptr_t>(buffer.get())) < 0) {
      const int error = errno;
      // Since the XSA-344 hardening, Xen rejects queries of the ports that Xen itself uses.
      if (error == EACCES) continue;
      // EINVAL: the number is beyond the last allocated group of ports.
      if (error == EINVAL && answered) break;
      throw_refused(error, domain);
    }
    answered = true;
    if (const auto status = port_status_of(*buffer)) out.push_back(*status);
  }
  return out;
}

}  // namespace xenpv::xen
