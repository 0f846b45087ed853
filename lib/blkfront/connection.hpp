// The inside of a frontend, on the control thread: carries out what connection_machine says, with
// device_nodes for xenstore and queue_set for the queues, and keeps the facts that a frontend
// shows.
//
// Shared by the frontend and by what its queues post to it; outlives neither the runtime nor its
// own close(). Decides nothing that the machine can decide.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blkfront/connection_machine.hpp"
#include "blkfront/device_nodes.hpp"
#include "blkfront/device_resources.hpp"
#include "blkfront/identity.hpp"
#include "blkfront/queue_set.hpp"
#include "xenpv/async/nursery.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/blkfront/frontend.hpp"

namespace xenpv::blkfront {

class frontend::connection : public std::enable_shared_from_this<frontend::connection> {
 public:
  /// `identity`: of the disk that it has to be; empty: any.
  connection(async::runtime& runtime, std::string device, options options, std::string identity);

  /// Everything up to Connected. On failure and when cancelled, nothing is left open.
  [[nodiscard]] async::asio::awaitable<void> open();
  /// Runs to its end whatever becomes of the caller; a second call waits for the first.
  [[nodiscard]] async::asio::awaitable<void> close();
  /// The same, for a caller that nothing cancels.
  [[nodiscard]] async::asio::awaitable<void> close_down();
  [[nodiscard]] async::asio::awaitable<std::string> identity();
  [[nodiscard]] async::asio::awaitable<std::vector<queue_statistics>> statistics();

  /// close() has begun.
  [[nodiscard]] bool is_closed() const noexcept { return close_progress_ != progress::none; }
  [[nodiscard]] async::asio::any_io_executor control() const { return runtime_.control(); }
  [[nodiscard]] queue_set& queues() noexcept { return queues_; }
  [[nodiscard]] const connection_facts& facts() const noexcept { return facts_; }
  [[nodiscard]] const blk::geometry& shape() const noexcept { return shape_; }
  [[nodiscard]] device_state state() const noexcept { return state_; }
  [[nodiscard]] const std::optional<error>& failure_reason() const noexcept { return reason_; }
  [[nodiscard]] const recovery_statistics& recovery() const noexcept { return recovery_; }
  void on_change(std::function<void()> callback) { changed_ = std::move(callback); }

 private:
  using clock = std::chrono::steady_clock;
  /// Of close(): the monitor is cancelled, then nothing can be cancelled any more.
  enum class progress : std::uint8_t { none, cancelling, closing, done };

  // connection.cpp: the machine's driver
  [[nodiscard]] async::asio::awaitable<void> connect();
  [[nodiscard]] async::asio::awaitable<void> monitor(connection_action action);
  [[nodiscard]] connection_action step(const connection_event& event);
  /// Throws only when cancelled.
  [[nodiscard]] async::asio::awaitable<connection_event> perform(connection_action action);
  [[nodiscard]] async::asio::awaitable<connection_event> carry_out(connection_action action);
  [[nodiscard]] connection_event take_problem(connection_step step, error problem);
  void follow_state(connection_state before);
  void become(device_state state, const std::optional<error>& why);
  void notify_change();
  [[nodiscard]] bool is_opening() const noexcept;
  [[nodiscard]] bool is_recovering() const noexcept;

  // connect.cpp: the steps of an attempt
  [[nodiscard]] async::asio::awaitable<void> recall_disk();
  [[nodiscard]] async::asio::awaitable<void> read_device();
  [[nodiscard]] async::asio::awaitable<connection_event> look();
  [[nodiscard]] async::asio::awaitable<connection_event> wait();
  /// Throws errc::lost_connection when the toolstack has removed the device.
  [[nodiscard]] async::asio::awaitable<void> set_state(wire::xenbus_state state);
  [[nodiscard]] async::asio::awaitable<void> sleep(std::chrono::nanoseconds pause);
  [[nodiscard]] async::asio::awaitable<void> back_off();
  [[nodiscard]] async::asio::awaitable<void> publish();
  [[nodiscard]] async::asio::awaitable<std::vector<queue_transport>> open_transports(
      const backend_offer& offer);
  [[nodiscard]] async::asio::awaitable<void> finish();
  [[nodiscard]] error check_disk(const known_disk& now) const;
  void keep_promises(backend_properties& properties);
  void ignore_flush();
  void make_queues(unsigned count);
  void guard_with_custodian();
  [[nodiscard]] async::asio::awaitable<void> reread();

  // recovery.cpp: losses and ends
  [[nodiscard]] async::asio::awaitable<void> settle_resume();
  [[nodiscard]] async::asio::awaitable<void> suspend_queues(connection_action action);
  [[nodiscard]] async::asio::awaitable<void> fail_waiting();
  [[nodiscard]] async::asio::awaitable<void> pause();
  [[nodiscard]] async::asio::awaitable<void> shut(connection_action action);
  [[nodiscard]] async::asio::awaitable<void> drain();
  [[nodiscard]] async::asio::awaitable<void> fail();
  [[nodiscard]] async::asio::awaitable<device_view> close_handshake();
  [[nodiscard]] async::asio::awaitable<void> release();
  void begin_loss();
  void recovered();
  void start_recovery_timer();
  void recovery_tick(clock::time_point last);
  [[nodiscard]] queue_events events_of_queue();
  void queue_failed(const error& why);

  async::runtime& runtime_;
  std::string device_;
  options options_;
  std::string recalled_;

  connection_machine machine_;
  device_nodes nodes_;
  resource_share resources_;
  queue_set queues_;
  async::resume_hook hook_;
  async::nursery background_;

  // What a frontend shows.
  connection_facts facts_;
  blk::geometry shape_;
  device_state state_ = device_state::closed;
  std::optional<error> reason_;
  recovery_statistics recovery_;
  std::vector<queue_statistics> last_statistics_;  ///< of queues that are closed
  std::function<void()> changed_;

  // Of the attempt under way.
  layout plan_;
  std::optional<std::size_t> budget_;  ///< pages of the first connection
  std::chrono::nanoseconds attempt_left_{};
  /// Of an attempt, besides options::connect_deadline: a backend that restarts between our ring and
  /// its Connected may wait for us to begin anew, and nothing tells.
  std::chrono::nanoseconds attempt_limit_ = std::chrono::nanoseconds::max();
  std::chrono::nanoseconds pause_{};       ///< between two attempts
  std::chrono::nanoseconds look_pause_{};  ///< between two looks at a connected device that fail
  std::optional<known_disk> known_;        ///< what the device was when it was last connected

  // Of the last failure.
  error problem_;
  std::exception_ptr attempt_failure_;
  std::optional<error> end_reason_;
  std::string logged_problem_;

  // Of the loss under way.
  clock::time_point lost_at_;
  std::size_t to_replay_ = 0;
  std::chrono::nanoseconds recovery_time_left_{};
  async::asio::steady_timer recovery_timer_;

  progress close_progress_ = progress::none;
  async::asio::steady_timer closed_;  ///< never expires; cancelled when close() is done
};

}  // namespace xenpv::blkfront
