// Before anything includes xen.h, which would give the event channel operations the number they had
// before Xen 3.2.
// NOLINTNEXTLINE(bugprone-reserved-identifier): Xen's name
#define __XEN_INTERFACE_VERSION__ __XEN_LATEST_INTERFACE_VERSION__

#include "xenpv/xen/port_status.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "xen/gnttab_library.hpp"

// Xen's headers do not care for C++ themselves.
extern "C" {
#include <xen/event_channel.h>
#include <xencall.h>
}

static_assert(__HYPERVISOR_event_channel_op == 32, "the number since Xen 3.2");

namespace xenpv::xen {
namespace {

/// The end of the FIFO ABI's port space: no domain has a port beyond it.
constexpr std::uint32_t port_limit = EVTCHN_FIFO_NR_CHANNELS;
constexpr const char* device = "/dev/xen/privcmd";

struct call_closer {
  void operator()(xencall_handle* handle) const noexcept { xencall_close(handle); }
};
using call_handle = std::unique_ptr<xencall_handle, call_closer>;

struct buffer_freer {
  xencall_handle* handle;
  void operator()(evtchn_status_t* buffer) const noexcept { xencall_free_buffer(handle, buffer); }
};
using status_buffer = std::unique_ptr<evtchn_status_t, buffer_freer>;

[[noreturn]] void throw_unavailable(std::string_view cure) {
  throw failure(errc::not_available, "ask the hypervisor for event channels", cure);
}

call_handle open_calls(const system_root& root) {
  // Another tree's hypervisor is not the one below this process.
  if (!root.is_real()) throw_unavailable("a captured or simulated guest has no hypervisor to ask");
  // Asked first: libxencall would say the same, but on standard error.
  if (::access(device, F_OK) != 0) throw_unavailable("modprobe xen-privcmd");
  if (::faccessat(AT_FDCWD, device, R_OK | W_OK, AT_EACCESS) != 0)
    throw_unavailable(fmt::format("{} needs root", device));
  call_handle handle(xencall_open(gnttab_logger(), 0));
  if (!handle) throw_unavailable(fmt::format("{}: {}", device, describe_errno(errno)));
  return handle;
}

[[noreturn]] void throw_refused(int error, domid domain) {
  // privcmd_open() of a kernel with the fix of XSA-482.
  if (error == EPERM)
    throw_unavailable(
        "the kernel shuts hypercalls in this guest: boot with xen_privcmd.unrestricted=1, without "
        "lockdown");
  throw_errno(error,
              domain == domid_self
                  ? std::string("ask the hypervisor for the event channels")
                  : fmt::format("ask the hypervisor for the event channels of domain {}", domain));
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
  const auto calls = open_calls(root);
  const status_buffer buffer(
      static_cast<evtchn_status_t*>(xencall_alloc_buffer(calls.get(), sizeof(evtchn_status_t))),
      {calls.get()});
  if (!buffer) throw_errno("allocate a buffer for hypercalls");
  std::vector<port_status> out;
  bool answered = false;
  for (std::uint32_t number = 0; number < port_limit; ++number) {
    *buffer = {};
    buffer->dom = raw(domain);
    buffer->port = number;
    if (xencall2(calls.get(), __HYPERVISOR_event_channel_op, EVTCHNOP_status,
                 reinterpret_cast<std::uintptr_t>(buffer.get())) < 0) {
      const int error = errno;
      // XSA-344's hardening: a port of the hypervisor's own is not for the domain to look at.
      if (error == EACCES) continue;
      // Beyond the last allocated group of ports.
      if (error == EINVAL && answered) break;
      throw_refused(error, domain);
    }
    answered = true;
    if (const auto status = port_status_of(*buffer)) out.push_back(*status);
  }
  return out;
}

}  // namespace xenpv::xen
