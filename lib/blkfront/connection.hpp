// The implementation of frontend, on the control thread. Performs the steps of connection_machine,
// using device_nodes for xenstore and queue_set for the queues, and maintains the frontend's public
// state.
//
// Shared by the frontend and by handlers that its queues post. Does not outlive the session or its
// own close(). Leaves all decisions to connection_machine.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "async/nursery.hpp"
#include "async/signal.hpp"
#include "blkfront/connection_machine.hpp"
#include "blkfront/device_nodes.hpp"
#include "blkfront/device_resources.hpp"
#include "blkfront/identity.hpp"
#include "blkfront/queue_set.hpp"
#include "xenpv/async/guest_session.hpp"
#include "xenpv/blkfront/frontend.hpp"

namespace xenpv::blkfront {

class frontend::connection : public std::enable_shared_from_this<frontend::connection> {
 public:
  /// `identity` describes the expected disk; if it is empty, any disk is accepted.
  connection(async::guest_session& session, std::string device, options options,
             std::string identity);

  /// Connects the device. Releases everything on failure and when cancelled.
  [[nodiscard]] asio::awaitable<void> open();
  /// Completes even if the caller is cancelled; a second call waits for the first.
  [[nodiscard]] asio::awaitable<void> close();
  /// Like close(), for callers that are never cancelled.
  [[nodiscard]] asio::awaitable<void> close_down();
  /// Starts close(); the session waits for it before it closes itself.
  void abandon();
  [[nodiscard]] asio::awaitable<std::string> identity();
  [[nodiscard]] asio::awaitable<std::vector<queue_statistics>> statistics();

  /// Whether close() has begun.
  [[nodiscard]] bool is_closed() const noexcept { return close_progress_ != progress::none; }
  [[nodiscard]] asio::any_io_executor control() const { return session_.control(); }
  [[nodiscard]] queue_set& queues() noexcept { return queues_; }
  [[nodiscard]] const connection_facts& facts() const noexcept { return facts_; }
  [[nodiscard]] const blk::geometry& shape() const noexcept { return shape_; }
  [[nodiscard]] device_state state() const noexcept { return state_; }
  [[nodiscard]] const std::optional<error>& failure_reason() const noexcept { return reason_; }
  [[nodiscard]] const recovery_statistics& recovery() const noexcept { return recovery_; }
  void on_change(std::function<void()> callback) { changed_ = std::move(callback); }

 private:
  using clock = std::chrono::steady_clock;
  /// The progress of close(), which first cancels the monitor and cannot itself be cancelled after
  /// that.
  enum class progress : std::uint8_t { none, cancelling, closing, done };

  // connection.cpp: drives the state machine
  /// Keeps the connection alive until it is closed.
  static asio::awaitable<void> close_abandoned(std::shared_ptr<connection> self);
  [[nodiscard]] asio::awaitable<void> connect();
  [[nodiscard]] asio::awaitable<void> monitor(connection_action action);
  [[nodiscard]] connection_action step(const connection_event& event);
  /// Throws only when cancelled.
  [[nodiscard]] asio::awaitable<connection_event> perform(connection_action action);
  [[nodiscard]] asio::awaitable<connection_event> carry_out(connection_action action);
  [[nodiscard]] connection_event record_failure(connection_step step, error problem);
  void follow_state(connection_state before);
  void become(device_state state, const std::optional<error>& reason);
  void notify_change();

  // connect.cpp: the steps of a connection attempt
  [[nodiscard]] asio::awaitable<void> load_expected_disk();
  [[nodiscard]] asio::awaitable<void> read_device();
  [[nodiscard]] asio::awaitable<connection_event> read_view();
  [[nodiscard]] asio::awaitable<connection_event> wait();
  /// Throws errc::lost_connection when the toolstack has removed the device.
  [[nodiscard]] asio::awaitable<void> set_state(wire::xenbus_state state);
  [[nodiscard]] asio::awaitable<void> sleep(std::chrono::nanoseconds pause);
  [[nodiscard]] asio::awaitable<void> back_off();
  [[nodiscard]] asio::awaitable<void> publish();
  [[nodiscard]] asio::awaitable<std::vector<queue_transport>> open_transports(
      const backend_offer& offer);
  [[nodiscard]] asio::awaitable<void> finish();
  [[nodiscard]] error check_disk(const known_disk& now) const;
  void keep_advertised_features(backend_properties& properties);
  void ignore_flush();
  void make_queues(unsigned count);
  void guard_with_custodian();
  [[nodiscard]] asio::awaitable<void> reread();

  // recovery.cpp: loss of the backend and teardown
  [[nodiscard]] asio::awaitable<void> check_resume();
  [[nodiscard]] asio::awaitable<void> suspend_queues(connection_action action);
  [[nodiscard]] asio::awaitable<void> fail_waiting();
  [[nodiscard]] asio::awaitable<void> pause();
  [[nodiscard]] asio::awaitable<void> shut(connection_action action);
  [[nodiscard]] asio::awaitable<void> drain();
  [[nodiscard]] asio::awaitable<void> fail();
  [[nodiscard]] asio::awaitable<device_view> close_handshake();
  [[nodiscard]] asio::awaitable<void> release();
  void begin_loss();
  void recovered();
  void start_recovery_timer();
  void recovery_tick(clock::time_point last);
  [[nodiscard]] queue_events make_queue_events();
  void queue_failed(const error& reason);

  async::guest_session& session_;
  std::string device_;
  options options_;
  std::string expected_identity_;

  connection_machine machine_;
  device_nodes nodes_;
  resource_share resources_;
  queue_set queues_;
  async::resume_hook hook_;
  async::nursery background_;

  // The frontend's public state.
  connection_facts facts_;
  blk::geometry shape_;
  device_state state_ = device_state::closed;
  std::optional<error> reason_;
  recovery_statistics recovery_;
  std::vector<queue_statistics> last_statistics_;  ///< final statistics of closed queues
  std::function<void()> changed_;

  // The current attempt.
  layout plan_;
  std::optional<std::size_t> budget_;  ///< page budget of the first connection
  std::chrono::nanoseconds attempt_left_{};
  /// Limits one attempt, in addition to options::connect_deadline. A backend that restarts after
  /// the frontend has published its ring, but before it is Connected itself, may wait for a new
  /// attempt without any indication.
  std::chrono::nanoseconds attempt_limit_ = std::chrono::nanoseconds::max();
  std::chrono::nanoseconds pause_{};        ///< between attempts
  std::chrono::nanoseconds retry_pause_{};  ///< after a failed read of a connected device
  std::optional<known_disk> known_;         ///< the disk at the last connect

  // The last failure.
  error problem_;
  std::exception_ptr attempt_failure_;
  std::optional<error> end_reason_;
  std::string logged_problem_;

  // The current recovery.
  clock::time_point lost_at_;
  std::size_t to_replay_ = 0;
  std::chrono::nanoseconds recovery_time_left_{};
  asio::steady_timer recovery_timer_;

  progress close_progress_ = progress::none;
  async::signal closed_;  ///< notified when close() is done
};

}  // namespace xenpv::blkfront
