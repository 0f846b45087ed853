// An owning wrapper for a libxenevtchn handle, and a connected pair of handles. The wrapper's
// functions throw std::system_error on failure, which fails the case. A call that is expected to
// fail uses the C library directly, through get().
#pragma once

#include <fcntl.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>

#include "contract/c_libraries.hpp"
#include "contract/environment.hpp"

namespace xenpv::contract {

class event_handle {
 public:
  explicit event_handle(unsigned flags = 0) : handle_(xenevtchn_open(nullptr, flags)) {
    check(handle_ != nullptr, "xenevtchn_open");
  }
  explicit event_handle(xenevtchn_handle* handle) : handle_(handle) {
    check(handle_ != nullptr, "xenevtchn_fdopen");
  }

  [[nodiscard]] xenevtchn_handle* get() const { return handle_.get(); }
  [[nodiscard]] int descriptor() const { return xenevtchn_fd(handle_.get()); }
  void close() { handle_.reset(); }

  [[nodiscard]] std::uint32_t bind_unbound(std::uint32_t domain = self) {
    const int port = xenevtchn_bind_unbound_port(get(), domain);
    check(port >= 0, "xenevtchn_bind_unbound_port");
    return static_cast<std::uint32_t>(port);
  }
  [[nodiscard]] std::uint32_t bind_interdomain(std::uint32_t domain, std::uint32_t remote_port) {
    const int port = xenevtchn_bind_interdomain(get(), domain, remote_port);
    check(port >= 0, "xenevtchn_bind_interdomain");
    return static_cast<std::uint32_t>(port);
  }
  void notify(std::uint32_t port) { check(xenevtchn_notify(get(), port) == 0, "xenevtchn_notify"); }
  void unbind(std::uint32_t port) { check(xenevtchn_unbind(get(), port) == 0, "xenevtchn_unbind"); }
  void unmask(std::uint32_t port) { check(xenevtchn_unmask(get(), port) == 0, "xenevtchn_unmask"); }

  void set_nonblocking() {
    const int flags = ::fcntl(descriptor(), F_GETFL);
    check(flags >= 0 && ::fcntl(descriptor(), F_SETFL, flags | O_NONBLOCK) == 0, "fcntl");
  }

  /// Returns the next pending port, which stays masked; nullopt if the wait times out.
  [[nodiscard]] std::optional<std::uint32_t> take(std::chrono::milliseconds timeout = time_limit) {
    if (!readable_within(descriptor(), timeout)) return std::nullopt;
    const int port = xenevtchn_pending(get());
    check(port >= 0, "xenevtchn_pending");
    return static_cast<std::uint32_t>(port);
  }
  [[nodiscard]] bool stays_quiet() const { return !readable_within(descriptor(), quiet); }

 private:
  struct closer {
    void operator()(xenevtchn_handle* handle) const { xenevtchn_close(handle); }
  };
  static void check(bool ok, const char* operation) {
    if (!ok) throw std::system_error(errno, std::generic_category(), operation);
  }
  std::unique_ptr<xenevtchn_handle, closer> handle_;
};

/// Two handles in this process, connected by one event channel. The constructor consumes the first
/// event at the binding end.
struct loopback {
  event_handle left;                                                   ///< allocates its port
  event_handle right;                                                  ///< binds to left_port
  std::uint32_t left_port = left.bind_unbound(self);                   ///< left's local port
  std::uint32_t right_port = right.bind_interdomain(self, left_port);  ///< right's local port

  loopback() {
    if (right.take() != right_port)
      throw std::runtime_error("a new interdomain port was not pending");
    right.unmask(right_port);
  }
};

/// Returns true if this domain's `port` is unbound. Binds the port to find out, and unbinds it
/// again.
[[nodiscard]] inline bool waits_to_be_bound(std::uint32_t port) {
  const event_handle probe;
  return xenevtchn_bind_interdomain(probe.get(), self, port) >= 0;
}

}  // namespace xenpv::contract
