// One open /dev/xen/evtchn handle (libxenevtchn) with its bound ports.
//
// Owned by one thread: the kernel serialises all calls on a handle, and /proc/interrupts names the
// handle after the thread that opened it. Closing the last reference to a handle that was open
// across save/restore triggers a kernel BUG: read custodian.hpp before closing a handle in a guest
// that may migrate. Does not contain an event loop: see async/event_loop.hpp.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "xenpv/base/types.hpp"

struct xenevtchn_handle;

namespace xenpv::xen {

/// An open handle; move-only. The functions throw `failure`, except where noted.
class event_channel_handle {
 public:
  /// Opens the device. Throws `failure`; the remedy names the module to load or the missing
  /// privilege.
  [[nodiscard]] static event_channel_handle open();

  event_channel_handle(event_channel_handle&&) noexcept = default;
  event_channel_handle& operator=(event_channel_handle&&) noexcept = default;
  /// Closes the handle, which unbinds all its ports (unless a duplicate is open).
  ~event_channel_handle() = default;

  /// Returns the descriptor, which is readable while ports are pending. The library owns the
  /// descriptor: duplicate it before passing it to code that closes it.
  [[nodiscard]] int descriptor() const noexcept;
  /// Sets O_NONBLOCK on the open file description, and so on every duplicate.
  void set_nonblocking();

  /// Allocates a new port that waits for `remote` to bind it (EVTCHNOP_alloc_unbound). `remote` may
  /// be domid_self.
  [[nodiscard]] port bind_unbound(domid remote);
  /// Binds a new port to `remote_port` of `remote`. Xen itself sends the first event
  /// ("conservatively always setting a notification"); ignore it.
  [[nodiscard]] port bind_interdomain(domid remote, port remote_port);
  /// Binds a new port to a virtual IRQ of vCPU 0, the only vCPU available to user space.
  [[nodiscard]] port bind_virq(std::uint32_t virq);
  /// Closes the port. Throws ENOTCONN for a port that is not bound through this handle.
  void unbind(port local);

  /// Sends an event to the peer. Throws ENOTCONN for a port that is not bound through this handle.
  void notify(port local);

  /// Returns the next pending port, or nullopt if none is pending. The port stays masked until
  /// unmask(). Requires set_nonblocking().
  [[nodiscard]] std::optional<port> pending();
  /// Fills `ports` with pending ports in one call and returns how many it stored, or 0 if none is
  /// pending. The ports stay masked until unmask(). Uses read(2) on the descriptor, which, unlike
  /// xenevtchn_pending, returns as many ports as the buffer holds.
  [[nodiscard]] std::size_t drain(std::span<port> ports);
  /// Unmasks `local`. If the port was notified while masked, it becomes pending immediately.
  void unmask(port local);

  /// Irrevocably restricts the handle to bind_interdomain() with `remote`. Linux rejects domain 0.
  void restrict_to(domid remote);

  /// Abandons the handle without closing it: its descriptor stays open and its ports stay bound
  /// until the process exits.
  void leak() noexcept;

 private:
  struct closer {
    void operator()(xenevtchn_handle* handle) const noexcept;
  };
  explicit event_channel_handle(xenevtchn_handle* handle) noexcept : handle_(handle) {}
  std::unique_ptr<xenevtchn_handle, closer> handle_;
};

}  // namespace xenpv::xen
