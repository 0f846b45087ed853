// The inside of a frontend: xenstore, the handshake and the queues, on the control thread.
//
// Shared by the frontend and by what its queues post to it; outlives neither the runtime nor its
// own close().
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blkfront/frontend_queue.hpp"
#include "blkfront/handshake.hpp"
#include "blkfront/identity.hpp"
#include "xenpv/async/nursery.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/blkfront/frontend.hpp"

namespace xenpv::blkfront {

class frontend::connection : public std::enable_shared_from_this<frontend::connection> {
 public:
  /// `identity`: of the disk that it has to be; empty: any.
  connection(async::runtime& on, std::string device, options how, std::string identity);

  /// Everything up to Connected. On failure nothing is left open.
  [[nodiscard]] async::asio::awaitable<void> open();
  [[nodiscard]] async::asio::awaitable<void> close();
  [[nodiscard]] async::asio::awaitable<std::string> identity();
  [[nodiscard]] async::asio::awaitable<std::vector<queue_statistics>> statistics();

  /// close() has been called.
  [[nodiscard]] bool is_closed() const noexcept { return closing_; }
  [[nodiscard]] async::asio::any_io_executor control() const { return on_.control(); }
  [[nodiscard]] std::vector<std::shared_ptr<frontend_queue>>& queues() noexcept { return queues_; }
  [[nodiscard]] const connection_facts& facts() const noexcept { return facts_; }
  [[nodiscard]] const blk::geometry& shape() const noexcept { return shape_; }
  [[nodiscard]] device_state state() const noexcept { return state_; }
  [[nodiscard]] const std::optional<error>& failure_reason() const noexcept { return reason_; }
  [[nodiscard]] const recovery_statistics& recovery() const noexcept { return recovery_; }
  void on_change(std::function<void()> callback) { changed_ = std::move(callback); }

 private:
  using clock = std::chrono::steady_clock;

  // connect.cpp
  [[nodiscard]] async::asio::awaitable<void> read_facts();
  /// What the caller says the disk has to be.
  [[nodiscard]] async::asio::awaitable<void> recall_disk();
  /// From facts to Connected, once.
  [[nodiscard]] async::asio::awaitable<void> attempt();
  [[nodiscard]] async::asio::awaitable<void> connect();
  [[nodiscard]] async::asio::awaitable<void> back_off(std::chrono::nanoseconds pause);
  [[nodiscard]] async::asio::awaitable<void> check_ground();
  [[nodiscard]] async::asio::awaitable<void> publish();
  [[nodiscard]] async::asio::awaitable<void> finish();
  void make_queues(unsigned count);
  [[nodiscard]] async::asio::awaitable<bool> open_queues(const layout& plan,
                                                         std::vector<queue_transport>& out);
  [[nodiscard]] async::asio::awaitable<void> write_transport(
      std::vector<queue_transport> transports, bool large_sectors);
  void guard_with_custodian();
  /// Throws: timed out, with what both ends show.
  [[nodiscard]] async::asio::awaitable<void> give_up(std::chrono::nanoseconds waited);

  // connection.cpp
  [[nodiscard]] async::asio::awaitable<handshake_view> look();
  [[nodiscard]] async::asio::awaitable<std::optional<std::string>> read_of_backend(
      std::string name);
  [[nodiscard]] async::asio::awaitable<node_map> read_backend();
  [[nodiscard]] async::asio::awaitable<void> set_state(wire::xenbus_state state);
  /// Watches the backend's directory, and where ours says it is.
  [[nodiscard]] async::asio::awaitable<void> follow_nodes();
  [[nodiscard]] async::asio::awaitable<void> follow_watch(async::watch_stream watch);
  /// Waits for a change there, or a resume. False: none came within `limit`.
  [[nodiscard]] async::asio::awaitable<bool> wait_for_change(std::chrono::nanoseconds limit);
  void wake();
  /// Before a port is unbound.
  [[nodiscard]] async::asio::awaitable<void> settle_resume();
  [[nodiscard]] async::asio::awaitable<void> close_queues();
  [[nodiscard]] async::asio::awaitable<void> shut_queues(error why);
  [[nodiscard]] async::asio::awaitable<void> fail_queues(error why);
  [[nodiscard]] async::asio::awaitable<bool> drain_queues(std::chrono::nanoseconds limit);
  [[nodiscard]] async::asio::awaitable<void> shake_hands_goodbye();
  [[nodiscard]] queue_events events_of_queue();
  void queue_failed(const error& why);

  // monitor.cpp
  [[nodiscard]] async::asio::awaitable<void> monitor();
  [[nodiscard]] async::asio::awaitable<bool> follow(bool worth_reading);
  [[nodiscard]] async::asio::awaitable<void> look_again();
  [[nodiscard]] async::asio::awaitable<void> unplug(std::string_view how);
  [[nodiscard]] async::asio::awaitable<void> end(device_state state, error why);

  // recovery.cpp
  [[nodiscard]] async::asio::awaitable<bool> follow_loss(const handshake_view& view);
  [[nodiscard]] async::asio::awaitable<bool> recover(std::string reason);
  [[nodiscard]] async::asio::awaitable<std::optional<error>> try_attempt();
  [[nodiscard]] async::asio::awaitable<bool> is_unplugged();
  [[nodiscard]] async::asio::awaitable<void> hold_queues(bool keep_ports);
  [[nodiscard]] async::asio::awaitable<void> stop_holding();
  void start_patience();
  void patience_tick(clock::time_point last);
  void recovered();

  void become(device_state state, std::optional<error> why);

  async::runtime& on_;
  std::string device_;
  options how_;
  std::string recalled_;
  connection_facts facts_;
  std::string device_type_ = "disk";
  std::uint16_t handle_ = 0;
  handshake machine_;
  layout plan_;
  std::optional<known_disk> known_;  ///< what the device was when it was last connected
  async::nursery watchers_;
  async::asio::steady_timer change_;  ///< never expires by itself; cancelled by wake()
  std::string followed_;              ///< the backend's directory that is watched
  bool dirty_ = false;
  bool worth_reading_ = false;  ///< what changed may be more than a state
  bool store_lost_ = false;
  async::resume_hook hook_;
  bool resumed_ = false;  ///< since the last attempt
  std::vector<std::shared_ptr<frontend_queue>> queues_;
  std::shared_ptr<sector_locks> members_;
  std::vector<queue_statistics> last_statistics_;  ///< of queues that are closed
  async::nursery background_;
  bool opened_ = false;     ///< was connected once: the queues stay as they are
  bool published_ = false;  ///< the backend may have our ring
  bool closing_ = false;
  device_state state_ = device_state::closed;
  std::optional<error> reason_;
  blk::geometry shape_;
  std::function<void()> changed_;

  recovery_statistics recovery_;
  clock::time_point lost_at_;
  std::size_t to_replay_ = 0;
  bool may_have_moved_ = false;
  /// Of a connect, besides options::connect_deadline: a backend that restarts between our ring and
  /// its Connected may wait for us to begin anew, and nothing tells.
  std::chrono::nanoseconds attempt_limit_ = std::chrono::nanoseconds::max();
  std::chrono::nanoseconds patience_left_{};
  async::asio::steady_timer patience_;
};

}  // namespace xenpv::blkfront
