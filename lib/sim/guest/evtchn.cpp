#include "sim/guest/evtchn.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "sim/guest/attachment.hpp"
#include "sim/guest/device_file.hpp"
#include "sim/guest/xen_abi.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::sim::guest {
namespace {

std::uint16_t index_of(std::uint64_t handle) {
  return static_cast<std::uint16_t>(handle >> 32);
}

int request(control_op op, std::uint64_t handle, std::uint64_t b, std::uint64_t c = 0) {
  auto* host = attachment::current();
  if (host == nullptr) return -1;
  const auto answer = host->call(op, handle, b, c);
  return answer.error != 0 ? fail(answer.error) : static_cast<int>(answer.a);
}

int notify(std::uint64_t handle, std::uint32_t port) {
  auto* host = attachment::current();
  if (host == nullptr) return -1;
  if (!host->state().handles[index_of(handle)].has_port(port)) return fail(ENOTCONN);
  if (!send_event(host->state(), *host, host->slot(), port))
    (void)host->call(control_op::delayed_event, port);
  return 0;
}

/// True for the requests that have an argument.
bool is_known(unsigned long request_number) {
  constexpr std::array<unsigned long, 6> known = {
      IOCTL_EVTCHN_NOTIFY,           IOCTL_EVTCHN_BIND_VIRQ,
      IOCTL_EVTCHN_BIND_INTERDOMAIN, IOCTL_EVTCHN_BIND_UNBOUND_PORT,
      IOCTL_EVTCHN_UNBIND,           IOCTL_EVTCHN_RESTRICT_DOMID};
  return std::find(known.begin(), known.end(), request_number) != known.end();
}

/// Discards the ports that have not been read. They stay masked.
int reset(int fd) {
  pollfd poll{fd, POLLIN, 0};
  std::uint32_t port = 0;
  while (::poll(&poll, 1, 0) == 1 && (poll.revents & POLLIN) != 0)
    if (::read(fd, &port, sizeof port) <= 0) break;
  return 0;
}

}  // namespace

int evtchn_ioctl(std::uint64_t handle, int fd, unsigned long request_number,
                 void* argument) noexcept {
  if (argument == nullptr && is_known(request_number)) return fail(EFAULT);
  switch (request_number) {
    case IOCTL_EVTCHN_NOTIFY:
      return notify(handle, static_cast<ioctl_evtchn_notify*>(argument)->port);
    case IOCTL_EVTCHN_BIND_VIRQ:
      return request(control_op::bind_virq, handle,
                     static_cast<ioctl_evtchn_bind_virq*>(argument)->virq);
    case IOCTL_EVTCHN_BIND_INTERDOMAIN: {
      const auto* bind = static_cast<ioctl_evtchn_bind_interdomain*>(argument);
      return request(control_op::bind_interdomain, handle, bind->remote_domain, bind->remote_port);
    }
    case IOCTL_EVTCHN_BIND_UNBOUND_PORT:
      return request(control_op::bind_unbound, handle,
                     static_cast<ioctl_evtchn_bind_unbound_port*>(argument)->remote_domain);
    case IOCTL_EVTCHN_UNBIND:
      return request(control_op::unbind, handle, static_cast<ioctl_evtchn_unbind*>(argument)->port);
    case IOCTL_EVTCHN_RESTRICT_DOMID:
      return request(control_op::restrict_domid, handle,
                     static_cast<ioctl_evtchn_restrict_domid*>(argument)->domid);
    case IOCTL_EVTCHN_RESET:
      return reset(fd);
    default:
      return fail(ENOSYS);  // the driver does not use ENOTTY
  }
}

std::size_t evtchn_read_size(std::size_t size) noexcept {
  return std::min(size, page_size) / sizeof(std::uint32_t) * sizeof(std::uint32_t);
}

ssize_t evtchn_write(std::uint64_t handle, const void* bytes, std::size_t size) noexcept {
  auto* host = attachment::current();
  if (host == nullptr) return -1;
  const auto count = std::min(size, page_size) / sizeof(std::uint32_t);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t port = 0;
    std::memcpy(&port, static_cast<const char*>(bytes) + i * sizeof port, sizeof port);
    if (host->state().handles[index_of(handle)].has_port(port))
      unmask_port(host->state(), *host, index_of(handle), static_cast<std::uint32_t>(handle), port);
  }
  return static_cast<ssize_t>(count * sizeof(std::uint32_t));
}

}  // namespace xenpv::sim::guest
