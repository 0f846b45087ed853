// The masking rules of one bound port, without I/O: how the port handles an event and when it may
// fire again. Owned by the event loop's entry for the port. The caller carries out the returned
// action.
#pragma once

#include <cstdint>

namespace xenpv::async {

/// The action for an event that was read.
enum class event_action : std::uint8_t {
  unmask,  ///< the first event of an interdomain port has no meaning: unmask the port
  call,    ///< run the callback, then unmask
  wake,    ///< resume the waiter; the port stays masked
  keep,    ///< no listener: remember the event; the port stays masked
};

/// The action for a new listener.
enum class listen_action : std::uint8_t {
  deliver,  ///< an event has already arrived; the port stays masked
  listen,   ///< the port can fire: nothing to do
  unmask,   ///< the last event has been handled: unmask the port
  refuse,   ///< there is another listener
};

class port_state {
 public:
  /// `swallow_first`: the port is interdomain, so Xen itself sends the first event.
  explicit port_state(bool swallow_first) noexcept : swallow_(swallow_first) {}

  /// The device returned the port, which masked it.
  [[nodiscard]] event_action on_event() noexcept;
  /// The port was unmasked.
  void on_unmasked() noexcept { masked_ = false; }

  [[nodiscard]] listen_action begin_wait() noexcept;
  /// The waiter was cancelled before an event arrived.
  void cancel_wait() noexcept;

  /// Sets a callback, or removes it if `present` is false. Replaces an existing callback; refuses
  /// if there is a waiter.
  [[nodiscard]] listen_action set_callback(bool present) noexcept;

 private:
  enum class listener : std::uint8_t { none, waiter, callback };

  [[nodiscard]] listen_action begin_listening() noexcept;

  listener listener_ = listener::none;
  bool swallow_;
  bool masked_ = false;
  bool kept_ = false;
};

}  // namespace xenpv::async
