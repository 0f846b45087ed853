// The C ABI of libxenevtchn in the simulator. Ioctls become messages to the host; notify and unmask
// use the shared tables; the descriptor is a pipe that returns port numbers like /dev/xen/evtchn.
// Unmasking by write(2) on the descriptor is not simulated; use xenevtchn_unmask().
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <new>

#include "sim/guest/attachment.hpp"
#include "sim/guest/xen_abi.hpp"

using xenpv::sim::control_op;
using xenpv::sim::guest::attachment;

struct xenevtchn_handle {
  int fd;
  std::uint64_t id;  ///< index << 32 | generation

  [[nodiscard]] std::uint16_t index() const noexcept {
    return static_cast<std::uint16_t>(id >> 32);
  }
  [[nodiscard]] std::uint32_t generation() const noexcept { return static_cast<std::uint32_t>(id); }
};

namespace {

int fail(int error) {
  errno = error;
  return -1;
}

/// Sends a control request. Like an ioctl wrapper, returns a number, or -1 with errno set.
int request(control_op op, const xenevtchn_handle* handle, std::uint64_t b, std::uint64_t c = 0) {
  auto* host = attachment::current();
  if (host == nullptr) return -1;
  const auto answer = host->call(op, handle->id, b, c);
  return answer.error != 0 ? fail(answer.error) : static_cast<int>(answer.a);
}

bool has_port(attachment& host, const xenevtchn_handle* handle, evtchn_port_t port) {
  return host.state().handles[handle->index()].has_port(port);
}

}  // namespace

extern "C" {

xenevtchn_handle* xenevtchn_open(xentoollog_logger*, unsigned int flags) {
  if ((flags & ~static_cast<unsigned>(XENEVTCHN_NO_CLOEXEC)) != 0) {
    errno = EINVAL;
    return nullptr;
  }
  auto* host = attachment::current();
  if (host == nullptr) return nullptr;
  auto answer = host->call(control_op::evtchn_open);
  if (answer.error != 0 || !answer.fd) {
    errno = answer.error != 0 ? answer.error : EPROTO;
    return nullptr;
  }
  auto* handle = new (std::nothrow) xenevtchn_handle{answer.fd.get(), answer.a};
  if (handle == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  (void)answer.fd.release();
  if ((flags & XENEVTCHN_NO_CLOEXEC) != 0) ::fcntl(handle->fd, F_SETFD, 0);
  return handle;
}

xenevtchn_handle* xenevtchn_fdopen(xentoollog_logger*, int fd, unsigned open_flags) {
  struct stat facts {};
  if (open_flags != 0) {
    errno = EINVAL;
    return nullptr;
  }
  auto* host = attachment::current();
  if (host == nullptr || ::fstat(fd, &facts) != 0) return nullptr;
  const auto answer = host->call(control_op::evtchn_adopt, facts.st_ino);
  if (answer.error != 0) {
    errno = answer.error;
    return nullptr;
  }
  return new (std::nothrow) xenevtchn_handle{fd, answer.a};
}

int xenevtchn_close(xenevtchn_handle* handle) {
  if (handle == nullptr) return 0;
  const int result = ::close(handle->fd);
  // Make the host check for the last reference now, so that the ports are free when this function
  // returns.
  (void)request(control_op::evtchn_closed, handle, 0);
  delete handle;
  return result;
}

int xenevtchn_fd(xenevtchn_handle* handle) {
  return handle->fd;
}

int xenevtchn_notify(xenevtchn_handle* handle, evtchn_port_t port) {
  auto* host = attachment::current();
  if (host == nullptr) return -1;
  if (!has_port(*host, handle, port)) return fail(ENOTCONN);
  if (!xenpv::sim::send_event(host->state(), *host, host->slot(), port))
    (void)host->call(control_op::delayed_event, port);
  return 0;
}

xenevtchn_port_or_error_t xenevtchn_bind_unbound_port(xenevtchn_handle* handle, uint32_t domid) {
  return request(control_op::bind_unbound, handle, domid);
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle* handle, uint32_t domid,
                                                     evtchn_port_t remote_port) {
  return request(control_op::bind_interdomain, handle, domid, remote_port);
}

xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle* handle, unsigned int virq) {
  return request(control_op::bind_virq, handle, virq);
}

int xenevtchn_unbind(xenevtchn_handle* handle, evtchn_port_t port) {
  return request(control_op::unbind, handle, port);
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle* handle) {
  evtchn_port_t port = 0;
  const auto got = ::read(handle->fd, &port, sizeof port);
  if (got < 0) return -1;
  return got == sizeof port ? static_cast<int>(port) : fail(EIO);
}

int xenevtchn_unmask(xenevtchn_handle* handle, evtchn_port_t port) {
  auto* host = attachment::current();
  if (host == nullptr) return -1;
  // Like the kernel's evtchn_write(), silently ignore unknown ports.
  if (has_port(*host, handle, port))
    xenpv::sim::unmask_port(host->state(), *host, handle->index(), handle->generation(), port);
  return 0;
}

int xenevtchn_restrict(xenevtchn_handle* handle, domid_t domid) {
  return request(control_op::restrict_domid, handle, domid);
}

}  // extern "C"
