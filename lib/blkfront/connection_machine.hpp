// The life of a connection to one device as a machine without I/O: connect, use, lose the backend,
// find the next one, and every end. The shell (connection.hpp) carries out one step at a time and
// reports the outcome; the machine decides what comes next, and what a loss of the backend means
// for the writes that it had answered.
//
// Owned by the shell, one per device. The xenbus handshake in it is handshake.hpp's. Waits for
// nothing, counts no time and reads nothing. A plain value: copyable and comparable, so that a
// model can explore it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "blkfront/connection_loss.hpp"
#include "blkfront/handshake.hpp"

namespace xenpv::blkfront {

enum class connection_state : std::uint8_t {
  unopened,
  connecting,  ///< for the first time; the backend has had no ring of ours
  offered,     ///< for the first time; the backend may have our ring
  connected,
  parting,     ///< the backend closes the connection; queues still take its answers
  recovering,  ///< the backend is lost; requests wait for the next one
  absent,      ///< the same, but for too long: requests fail
  unplugging,  ///< the toolstack takes the disk away
  failing,     ///< the disk cannot be used any more
  closing,     ///< by close(), or after an open that failed
  unplugged,
  failed,
  closed,
};
[[nodiscard]] std::string_view to_string(connection_state state) noexcept;

enum class connection_step : std::uint8_t {
  read_device,  ///< an attempt begins: read the device's directory, follow it and the backend's
  look,         ///< answer with what both ends show
  confirm,      ///< the same, having asked first whether the guest was resumed
  wait,         ///< for a change, then look; answer `changed` to an interruption
  set_closing,  ///< write our state
  set_closed,   ///< write our state
  set_initialising,  ///< write our state
  publish,           ///< grant pages, bind ports, publish them
  finish,            ///< read what the backend published, start the queues, write Connected
  reread,            ///< the properties of a connected disk may have changed
  back_off,          ///< pause, then go on with this attempt
  abandon,           ///< this attempt cannot succeed (action::text): answer `failed`
  suspend,           ///< queues give up the lost backend's ring and keep their requests
  withdraw,          ///< the same for the ring of an attempt that failed
  rebind,            ///< the same for a ring that was refused, ports included
  pause,             ///< before the next attempt
  shut,              ///< queues take no more requests (action::text says why)
  drain,             ///< wait, bounded, until the backend has answered what it has
  fail,              ///< answer all requests, those to come included
  part,              ///< the closing handshake; answer with the last view
  release,           ///< unbind and ungrant everything
  rest,              ///< nothing, until the next open, close or interruption
};
[[nodiscard]] std::string_view to_string(connection_step step) noexcept;

struct connection_action {
  connection_step step = connection_step::rest;
  /// Of suspend, withdraw and rebind.
  connection_loss loss = connection_loss::abrupt;
  std::string_view text{};
  friend bool operator==(const connection_action&, const connection_action&) = default;
};

/// What the device's directory says about its backend.
enum class backend_node : std::uint8_t {
  same,
  other,    ///< the device has another backend than the one followed
  removed,  ///< there is no such node: the toolstack removed the device
};

/// What xenstore shows at one moment.
struct device_view {
  handshake_view states;
  backend_node node = backend_node::same;
  /// The backend's directory was removed or made since the last look, as its watch tells.
  bool rebuilt = false;
  friend bool operator==(const device_view&, const device_view&) = default;
};

struct connection_event {
  enum class kind : std::uint8_t {
    open,
    close,       ///< from any state, also in place of a step's outcome
    done,        ///< the step succeeded
    view,        ///< the step succeeded and saw `view`
    changed,     ///< the wait was ended by an interruption
    failed,      ///< the step failed; trying again may help
    wrong_disk,  ///< the step found another disk than the one before
  };
  kind what = kind::done;
  device_view view;
};

/// What happens between two steps, or during one.
enum class interruption : std::uint8_t {
  resumed,      ///< the guest was suspended and resumed: rings, ports and nodes are gone
  distrusted,   ///< a queue gave its backend up for breaking the protocol
  out_of_time,  ///< requests have waited for the next backend for long enough
};

/// Why the backend was lost.
enum class loss_reason : std::uint8_t {
  none,
  resumed,
  backend_closed,
  directory_vanished,
  device_rebuilt,
  backend_restarted,
};
/// "the backend closed the connection"
[[nodiscard]] std::string_view to_string(loss_reason reason) noexcept;

class connection_machine {
 public:
  /// Takes the outcome of the step before, or `open` or `close`, and returns the next step.
  [[nodiscard]] connection_action next(const connection_event& event) noexcept;
  /// At any time. False: it means nothing in this state.
  bool interrupt(interruption what) noexcept;
  /// The disk was known in another domain or on another host.
  void assume_moved() noexcept { host_ = host::maybe_other; }

  [[nodiscard]] connection_state state() const noexcept { return state_; }
  /// Why the backend was lost last.
  [[nodiscard]] loss_reason reason() const noexcept { return reason_; }
  /// What is known of the lost backend's cache: worse with what is learnt later, never better.
  [[nodiscard]] connection_loss loss() const noexcept { return loss_; }
  /// Rings that the backend refused during this attempt.
  [[nodiscard]] unsigned refusals() const noexcept { return handshake_.refusals(); }
  /// An interruption is yet to be dealt with: a wait should end.
  [[nodiscard]] bool is_interrupted() const noexcept { return news_ != news::none; }
  [[nodiscard]] bool is_resumed() const noexcept { return news_ == news::resumed; }
  /// The guest may be on another host than when the disk was last connected.
  [[nodiscard]] bool may_have_moved() const noexcept { return host_ == host::maybe_other; }

  friend bool operator==(const connection_machine&, const connection_machine&) = default;

 private:
  enum class news : std::uint8_t { none, resumed, distrusted };
  enum class host : std::uint8_t { same, maybe_other };

  [[nodiscard]] connection_action decide(const connection_event& event) noexcept;
  [[nodiscard]] connection_action begin_close() noexcept;
  [[nodiscard]] connection_action connect_first(const connection_event& event) noexcept;
  [[nodiscard]] connection_action stay_connected(const connection_event& event) noexcept;
  [[nodiscard]] connection_action part(const connection_event& event) noexcept;
  [[nodiscard]] connection_action recover(const connection_event& event) noexcept;
  [[nodiscard]] connection_action end(const connection_event& event) noexcept;

  [[nodiscard]] connection_action begin_attempt() noexcept;
  /// After a step of an attempt that succeeded without a view.
  [[nodiscard]] connection_action go_on() noexcept;
  [[nodiscard]] connection_action follow_handshake(const device_view& view) noexcept;
  [[nodiscard]] connection_action follow_recovery(const device_view& view) noexcept;
  [[nodiscard]] connection_action follow_use(const device_view& view) noexcept;
  [[nodiscard]] connection_action lose(loss_reason reason, connection_loss loss) noexcept;
  [[nodiscard]] connection_action begin_unplug(std::string_view text) noexcept;
  [[nodiscard]] bool is_in_use() const noexcept;
  [[nodiscard]] bool is_recovering() const noexcept;

  connection_state state_ = connection_state::unopened;
  connection_step step_ = connection_step::rest;  ///< under way
  handshake handshake_;
  news news_ = news::none;
  host host_ = host::same;
  loss_reason reason_ = loss_reason::none;
  connection_loss loss_ = connection_loss::abrupt;
};

}  // namespace xenpv::blkfront
