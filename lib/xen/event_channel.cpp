#include "xenpv/xen/event_channel.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "xen/cure.hpp"
#include "xenpv/base/error.hpp"

// Xen's headers do not declare their functions extern "C".
extern "C" {
#include <xenevtchn.h>
}

namespace xenpv::xen {
namespace {

port to_port(xenevtchn_port_or_error_t value) {
  return port(static_cast<std::uint32_t>(value));
}

}  // namespace

void event_channel_handle::closer::operator()(xenevtchn_handle* handle) const noexcept {
  xenevtchn_close(handle);
}

event_channel_handle event_channel_handle::open() {
  auto* handle = xenevtchn_open(nullptr, 0);
  if (handle == nullptr) throw_open_failed("/dev/xen/evtchn", errno);
  return event_channel_handle(handle);
}

int event_channel_handle::descriptor() const noexcept {
  return xenevtchn_fd(handle_.get());
}

void event_channel_handle::set_nonblocking() {
  const int flags = ::fcntl(descriptor(), F_GETFL);
  if (flags < 0 || ::fcntl(descriptor(), F_SETFL, flags | O_NONBLOCK) < 0)
    throw_errno("make /dev/xen/evtchn non-blocking");
}

port event_channel_handle::bind_unbound(domid remote) {
  const auto local = xenevtchn_bind_unbound_port(handle_.get(), raw(remote));
  if (local < 0)
    throw_failed(attempt::bind_unbound, errno, fmt::format("bind a port for domain {}", remote));
  return to_port(local);
}

port event_channel_handle::bind_interdomain(domid remote, port remote_port) {
  const auto local = xenevtchn_bind_interdomain(handle_.get(), raw(remote), raw(remote_port));
  if (local < 0)
    throw_failed(attempt::bind_interdomain, errno,
                 fmt::format("bind to port {} of domain {}", remote_port, remote));
  return to_port(local);
}

port event_channel_handle::bind_virq(std::uint32_t virq) {
  const auto local = xenevtchn_bind_virq(handle_.get(), virq);
  if (local < 0) throw_failed(attempt::bind_virq, errno, fmt::format("bind virtual IRQ {}", virq));
  return to_port(local);
}

void event_channel_handle::unbind(port local) {
  if (xenevtchn_unbind(handle_.get(), raw(local)) < 0)
    throw_failed(attempt::use_port, errno, fmt::format("unbind port {}", local));
}

void event_channel_handle::notify(port local) {
  if (xenevtchn_notify(handle_.get(), raw(local)) < 0)
    throw_failed(attempt::use_port, errno, fmt::format("notify port {}", local));
}

std::optional<port> event_channel_handle::pending() {
  for (;;) {
    const auto local = xenevtchn_pending(handle_.get());
    if (local >= 0) return to_port(local);
    if (errno == EAGAIN) return std::nullopt;
    if (errno != EINTR) throw_failed(attempt::drain_ports, errno, "read pending ports");
  }
}

std::size_t event_channel_handle::drain(std::span<port> ports) {
  // If the buffer is smaller than one port, the driver returns 0, which would look like end of
  // file.
  if (ports.empty()) return 0;
  for (;;) {
    const auto bytes = ::read(descriptor(), ports.data(), ports.size_bytes());
    if (bytes >= 0) return static_cast<std::size_t>(bytes) / sizeof(port);
    if (errno == EAGAIN) return 0;
    if (errno != EINTR) throw_failed(attempt::drain_ports, errno, "read pending ports");
  }
}

void event_channel_handle::unmask(port local) {
  if (xenevtchn_unmask(handle_.get(), raw(local)) < 0)
    throw_failed(attempt::use_port, errno, fmt::format("unmask port {}", local));
}

void event_channel_handle::restrict_to(domid remote) {
  if (xenevtchn_restrict(handle_.get(), raw(remote)) < 0)
    throw_failed(attempt::restrict_handle, errno,
                 fmt::format("restrict /dev/xen/evtchn to domain {}", remote));
}

void event_channel_handle::leak() noexcept {
  static_cast<void>(handle_.release());
}

}  // namespace xenpv::xen
