// The lifecycle of a connection to one device as a state machine without I/O: connect, use, loss of
// the backend, reconnect and teardown. Its driver (connection.hpp) performs one step at a time and
// reports the outcome. The machine chooses the next step and decides whether losing the backend
// endangers completed writes.
//
// Owned by its driver, one per device. The xenbus handshake is in handshake.hpp. Does not wait,
// measure time or read anything. Copyable and comparable, so that a model can explore its states.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "blkfront/connection_loss.hpp"
#include "blkfront/handshake.hpp"

namespace xenpv::blkfront {

enum class connection_state : std::uint8_t {
  unopened,
  connecting,  ///< first connect; the ring has not been published yet
  offered,     ///< first connect; the backend may already have the ring
  connected,
  parting,     ///< the backend is closing the connection; queues still accept its responses
  recovering,  ///< the backend is lost; requests wait for the next one
  absent,      ///< recovery has timed out: requests fail
  unplugging,  ///< the toolstack is detaching the disk
  failing,     ///< the disk can no longer be used
  closing,     ///< close() was called, or open() failed
  unplugged,
  failed,
  closed,
};
[[nodiscard]] std::string_view to_string(connection_state state) noexcept;

enum class connection_step : std::uint8_t {
  read_device,       ///< begin an attempt: read the device's directory, watch it and the backend's
  look,              ///< report the states of both ends (`view`)
  confirm,           ///< like `look`, after checking whether the guest was resumed
  wait,              ///< wait for a change and report a `view`, or `changed` if interrupted
  set_closing,       ///< write Closing as the frontend's state
  set_closed,        ///< write Closed as the frontend's state
  set_initialising,  ///< write Initialising as the frontend's state
  publish,           ///< grant pages, bind ports, and publish the grants and ports
  finish,            ///< read the backend's properties, start the queues and write Connected
  reread,            ///< reread the properties of a connected disk, which may have changed
  back_off,          ///< wait for a while, then continue this attempt
  abandon,           ///< this attempt cannot succeed (action::text); report `failed`
  suspend,           ///< queues drop the lost backend's ring and keep their requests
  withdraw,          ///< like `suspend`, for the ring of a failed attempt
  rebind,            ///< like `suspend`, for a refused ring; also drop its ports
  pause,             ///< wait before the next attempt
  shut,              ///< queues refuse new requests (action::text is the reason)
  drain,             ///< wait, bounded, for responses to the requests in flight
  fail,              ///< fail all current and future requests
  part,              ///< run the closing handshake and report the last `view`
  release,           ///< unbind and ungrant everything
  rest,              ///< do nothing until the next open, close or interruption
};
[[nodiscard]] std::string_view to_string(connection_step step) noexcept;

struct connection_action {
  connection_step step = connection_step::rest;
  /// Used by suspend, withdraw and rebind.
  connection_loss loss = connection_loss::abrupt;
  std::string_view text{};
  friend bool operator==(const connection_action&, const connection_action&) = default;
};

/// The `backend` node in the device's directory.
enum class backend_node : std::uint8_t {
  same,
  other,    ///< names a backend other than the watched one
  removed,  ///< does not exist: the toolstack removed the device
};

/// A snapshot of xenstore.
struct device_view {
  handshake_view states;
  backend_node node = backend_node::same;
  /// According to the watch, the backend directory was removed or created since the last view.
  bool rebuilt = false;
  friend bool operator==(const device_view&, const device_view&) = default;
};

struct connection_event {
  enum class kind : std::uint8_t {
    open,
    close,       ///< allowed in any state, also instead of a step's outcome
    done,        ///< the step succeeded
    view,        ///< the step succeeded and read `view`
    changed,     ///< the wait was interrupted
    failed,      ///< the step failed; a retry may succeed
    wrong_disk,  ///< the step found a different disk
  };
  kind what = kind::done;
  device_view view;
};

/// An asynchronous event, which can occur between steps or during a step.
enum class interruption : std::uint8_t {
  resumed,      ///< the guest was suspended and resumed: rings, ports and nodes are stale
  distrusted,   ///< a queue failed because the backend violated the protocol
  out_of_time,  ///< the recovery timeout has expired
};

/// The reason for the loss of the backend.
enum class loss_reason : std::uint8_t {
  none,
  resumed,
  backend_closed,
  directory_vanished,
  device_rebuilt,
  backend_restarted,
};
/// Returns text such as "the backend closed the connection".
[[nodiscard]] std::string_view to_string(loss_reason reason) noexcept;

class connection_machine {
 public:
  /// Takes the outcome of the last step, or `open` or `close`, and returns the next step.
  [[nodiscard]] connection_action next(const connection_event& event) noexcept;
  /// May be called at any time. Returns false if `cause` is irrelevant in the current state.
  bool interrupt(interruption cause) noexcept;
  /// Call if the disk was last used in another domain or on another host.
  void assume_moved() noexcept { host_ = host::maybe_other; }

  [[nodiscard]] connection_state state() const noexcept { return state_; }
  /// Whether this is the first connect.
  [[nodiscard]] bool is_opening() const noexcept {
    return state_ == connection_state::connecting || state_ == connection_state::offered;
  }
  /// Whether the backend is lost.
  [[nodiscard]] bool is_recovering() const noexcept {
    return state_ == connection_state::recovering || state_ == connection_state::absent;
  }
  /// Whether the disk has been connected and is not being closed permanently.
  [[nodiscard]] bool is_in_use() const noexcept {
    return state_ == connection_state::connected || state_ == connection_state::parting ||
           is_recovering();
  }
  /// The reason for the last loss of the backend.
  [[nodiscard]] loss_reason reason() const noexcept { return reason_; }
  /// The assumed state of the lost backend's cache. Later information can only change it from
  /// orderly to abrupt.
  [[nodiscard]] connection_loss loss() const noexcept { return loss_; }
  /// The number of rings that the backend refused during this attempt.
  [[nodiscard]] unsigned refusals() const noexcept { return handshake_.refusals(); }
  /// Whether an interruption is pending, so that a wait should end.
  [[nodiscard]] bool is_interrupted() const noexcept { return pending_ != pending::none; }
  [[nodiscard]] bool is_resumed() const noexcept { return pending_ == pending::resumed; }
  /// Whether the guest may have moved to another host since the disk was last connected.
  [[nodiscard]] bool may_have_moved() const noexcept { return host_ == host::maybe_other; }

  friend bool operator==(const connection_machine&, const connection_machine&) = default;

 private:
  enum class pending : std::uint8_t { none, resumed, distrusted };
  enum class host : std::uint8_t { same, maybe_other };

  [[nodiscard]] connection_action decide(const connection_event& event) noexcept;
  [[nodiscard]] connection_action begin_close() noexcept;
  [[nodiscard]] connection_action connect_first(const connection_event& event) noexcept;
  [[nodiscard]] connection_action stay_connected(const connection_event& event) noexcept;
  [[nodiscard]] connection_action part(const connection_event& event) noexcept;
  [[nodiscard]] connection_action recover(const connection_event& event) noexcept;
  [[nodiscard]] connection_action end(const connection_event& event) noexcept;

  [[nodiscard]] connection_action begin_attempt() noexcept;
  /// Returns the next step after a successful step that did not report a view.
  [[nodiscard]] connection_action continue_attempt() noexcept;
  [[nodiscard]] connection_action follow_handshake(const device_view& view) noexcept;
  [[nodiscard]] connection_action follow_recovery(const device_view& view) noexcept;
  [[nodiscard]] connection_action follow_connected(const device_view& view) noexcept;
  [[nodiscard]] connection_action lose(loss_reason reason, connection_loss loss) noexcept;
  [[nodiscard]] connection_action begin_unplug(std::string_view text) noexcept;

  connection_state state_ = connection_state::unopened;
  connection_step step_ = connection_step::rest;  ///< the step in progress
  handshake handshake_;
  pending pending_ = pending::none;
  host host_ = host::same;
  loss_reason reason_ = loss_reason::none;
  connection_loss loss_ = connection_loss::abrupt;
};

}  // namespace xenpv::blkfront
