// The masking state of one bound port, without I/O: decides how an event is handled and when the
// port may fire again. Owned by the event loop's entry for the port; the caller performs the
// returned action.
#pragma once

#include <cstdint>

namespace xenpv::async {

/// The action for an event read from the device.
enum class event_action : std::uint8_t {
  unmask,  ///< first event of an interdomain port, sent by Xen itself: unmask the port
  call,    ///< run the callback, then unmask
  wake,    ///< resume the waiter; the port stays masked
  keep,    ///< without a listener: keep the event; the port stays masked
};

/// The action for a new listener.
enum class listen_action : std::uint8_t {
  deliver,  ///< an event has already arrived; the port stays masked
  listen,   ///< the port can fire: nothing to do
  unmask,   ///< the last event has been handled: unmask the port
  refuse,   ///< another listener is active
};

class port_state {
 public:
  /// `swallow_first`: set for interdomain ports, whose first event is sent by Xen itself.
  explicit port_state(bool swallow_first) noexcept : swallow_(swallow_first) {}

  /// Call for each event read from the device; the port is masked by then.
  [[nodiscard]] event_action on_event() noexcept;
  /// Call when the port has been unmasked.
  void on_unmasked() noexcept { masked_ = false; }

  [[nodiscard]] listen_action begin_wait() noexcept;
  /// Call when the waiter was cancelled before an event arrived.
  void cancel_wait() noexcept;

  /// Sets a callback, or removes it if `present` is false. Replaces an existing callback; refuses
  /// while a waiter is pending.
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
