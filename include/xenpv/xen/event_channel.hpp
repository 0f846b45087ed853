// One open /dev/xen/evtchn handle (libxenevtchn) with its bound ports.
//
// Owned by one thread: the kernel serialises every call on a handle, and the handle's name in
// /proc/interrupts is that of the thread that opened it. Closing the last reference of a handle
// that lived through save/restore is a kernel BUG: see custodian.hpp before you close one in a
// guest that may migrate. No event loop here: see async/event_loop.hpp.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "xenpv/base/types.hpp"

struct xenevtchn_handle;

namespace xenpv::xen {

class event_channel_handle {
 public:
  /// Opens the device. Throws `failure`; the cure names the module to load or the privilege that
  /// lacks.
  [[nodiscard]] static event_channel_handle open();

  event_channel_handle(event_channel_handle&&) noexcept = default;
  event_channel_handle& operator=(event_channel_handle&&) noexcept = default;
  /// Closes the handle, which unbinds all its ports (unless somebody holds a duplicate).
  ~event_channel_handle() = default;

  /// The descriptor, readable while ports wait in it. Owned by the library: duplicate it before
  /// giving it to anything that closes.
  [[nodiscard]] int descriptor() const noexcept;
  /// Sets O_NONBLOCK on the open file description, so on every duplicate too.
  void set_nonblocking();

  /// A new port that waits for `remote` to bind it (EVTCHNOP_alloc_unbound). `remote` may be
  /// domid_self.
  [[nodiscard]] port bind_unbound(domid remote);
  /// A new port connected to `remote_port` of `remote`. Its first event is Xen's own
  /// ("conservatively always setting a notification") and means nothing.
  [[nodiscard]] port bind_interdomain(domid remote, port remote_port);
  /// A virtual IRQ of vCPU 0 (the only vCPU user space can ask for).
  [[nodiscard]] port bind_virq(std::uint32_t virq);
  void unbind(port local);

  /// Sends an event to the other end. Throws ENOTCONN for a port that is not of this handle.
  void notify(port local);

  /// The next pending port, now masked until unmask(); nullopt when none waits (needs
  /// set_nonblocking).
  [[nodiscard]] std::optional<port> pending();
  /// Fills `ports` with pending ones in one call and returns how many; 0 when none waits. All of
  /// them are masked until unmask(). Uses read(2) on the descriptor: the kernel's device, unlike
  /// xenevtchn_pending, hands out as many ports as the buffer holds.
  [[nodiscard]] std::size_t drain(std::span<port> ports);
  /// Lets `local` fire again; if it was notified while masked it fires at once.
  void unmask(port local);

  /// One way: from now on only bind_interdomain to `only` is allowed. Domain 0 is refused by Linux.
  void restrict_to(domid only);

  /// Gives up the handle without closing it: descriptor and ports stay until the process ends.
  void leak() noexcept;

 private:
  struct closer {
    void operator()(xenevtchn_handle* handle) const noexcept;
  };
  explicit event_channel_handle(xenevtchn_handle* handle) noexcept : handle_(handle) {}
  std::unique_ptr<xenevtchn_handle, closer> handle_;
};

}  // namespace xenpv::xen
