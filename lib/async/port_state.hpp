// What one bound port does with an event and when it may fire again: the masking rules, without
// I/O. Owned by the event loop's entry for the port. Whoever asks carries the answer out.
#pragma once

#include <cstdint>

namespace xenpv::async {

/// What to do with an event that was read.
enum class event_action : std::uint8_t {
  unmask,  ///< the first event of an interdomain port means nothing: let it fire again
  call,    ///< run the callback, then unmask
  wake,    ///< resume the waiter; the port stays masked
  keep,    ///< nobody is there: it is remembered, the port stays masked
};

/// What to do for somebody who wants to be told of events from now on.
enum class listen_action : std::uint8_t {
  deliver,  ///< an event is there already; the port stays masked
  listen,   ///< the port can fire: nothing to do
  unmask,   ///< the work for the last event is done: let the port fire again
  refuse,   ///< somebody is listening
};

class port_state {
 public:
  /// `swallow_first`: the port is interdomain, so Xen itself sends the first event.
  explicit port_state(bool swallow_first) noexcept : swallow_(swallow_first) {}

  /// The device gave the port out, which masked it.
  [[nodiscard]] event_action on_event() noexcept;
  /// The port was unmasked.
  void on_unmasked() noexcept { masked_ = false; }

  [[nodiscard]] listen_action begin_wait() noexcept;
  /// The waiter left without an event.
  void cancel_wait() noexcept;

  /// A callback, or with `present` false none any more. An existing callback is replaced; a waiter
  /// refuses.
  [[nodiscard]] listen_action set_callback(bool present) noexcept;

 private:
  enum class listener : std::uint8_t { none, waiter, callback };

  [[nodiscard]] listen_action greet() noexcept;

  listener listener_ = listener::none;
  bool swallow_;
  bool masked_ = false;
  bool kept_ = false;
};

}  // namespace xenpv::async
