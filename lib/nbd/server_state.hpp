// The state of a server, on its control thread: brings together the parts that accept, admit and
// serve clients. server.cpp starts and stops it; server_clients.cpp follows each client from accept
// to close.
//
// Owned by a server and by the callbacks that may outlive it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "async/nursery.hpp"
#include "nbd/acceptor.hpp"
#include "nbd/admission.hpp"
#include "nbd/client_slots.hpp"
#include "nbd/export_table.hpp"
#include "nbd/memory_budget.hpp"
#include "nbd/server_log.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::nbd {

class server::state : public std::enable_shared_from_this<server::state> {
 public:
  state(const asio::any_io_executor& control, server_options options);

  // See the members of `server`.
  [[nodiscard]] const asio::any_io_executor& control() const noexcept { return control_; }
  [[nodiscard]] export_table& exports() noexcept { return exports_; }
  void listen(unique_fd listener);
  void serve(unique_fd socket);
  void serve_agreed(unique_fd socket, std::size_t queue, std::function<void(bool)> ended);
  [[nodiscard]] std::uint16_t flags() const;
  void reshape(const blk::block_device& device, const blk::geometry& geometry);
  void withdraw(const blk::block_device& device, const std::string& reason);
  void set_access(std::shared_ptr<const access_list> access);
  void set_credentials(std::shared_ptr<const tls_credentials> credentials);
  bool disconnect(std::uint64_t number);
  [[nodiscard]] asio::awaitable<void> stop();
  void hang_up();
  [[nodiscard]] server_statistics statistics() const;
  [[nodiscard]] asio::awaitable<std::vector<client_statistics>> clients();

 private:
  using position = client_slots::position;

  // server.cpp
  [[nodiscard]] acceptor::callbacks acceptor_callbacks();
  void welcome(unique_fd socket, std::size_t listener);
  /// Makes a client leave so that its descriptor becomes free. Returns false if none can.
  bool free_descriptor();
  void evict(admission::client_id number, std::string_view reason);
  void drain_clients_of(const blk::block_device& device);

  // server_clients.cpp
  [[nodiscard]] asio::awaitable<void> serve_one(unique_fd socket, position slot,
                                                std::size_t listener);
  [[nodiscard]] asio::awaitable<void> serve_kernel(unique_fd socket, position slot);
  [[nodiscard]] connection_options negotiated_options(const client_slot& slot,
                                                      std::size_t listener);
  [[nodiscard]] bool announces_multi_conn() const noexcept;
  [[nodiscard]] export_info describe(const client_slot& slot) const;
  /// Creates the connection on the thread of `executor`. If `socket` is not a socket, logs that.
  [[nodiscard]] asio::awaitable<void> create(unique_fd socket, position slot,
                                             asio::any_io_executor executor,
                                             connection_options options);
  /// Returns whether the client has selected an export and has a seat. Otherwise, its connection
  /// has been closed.
  [[nodiscard]] asio::awaitable<bool> negotiate(position slot);
  [[nodiscard]] asio::awaitable<seat_answer> take_seat(position slot);
  [[nodiscard]] asio::awaitable<seat_answer> request_seat(position slot);
  /// The reason to refuse all clients that choose this export, if any.
  [[nodiscard]] std::optional<seat_refusal> obstacle_to(std::size_t export_index) const;
  [[nodiscard]] asio::awaitable<seat_answer> wait_for_seat(position slot);
  void answer_waiting(admission::client_id number, const seat_answer& answer);
  /// Serves the client on the queue with the fewest clients. Returns whether it was served.
  [[nodiscard]] asio::awaitable<bool> serve_export(position slot);
  /// Moves the client to the thread of `queue`. Returns false, after logging, if that fails.
  [[nodiscard]] asio::awaitable<bool> move(position slot, blk::block_queue& queue);
  [[nodiscard]] asio::awaitable<void> remove(position slot, bool was_served);
  void report(const client_slot& client, const handshake_result& result);

  asio::any_io_executor control_;
  server_options options_;
  asio::any_io_executor handshakes_;
  export_table exports_;
  async::nursery tasks_;
  admission admission_;
  acceptor acceptor_;
  std::shared_ptr<server_log> log_;
  memory_budget memory_;
  client_slots slots_;
  std::list<asio::steady_timer> withdrawals_;
  std::vector<std::string> listener_names_;
  server_statistics statistics_;
  std::uint64_t numbers_ = 0;
  bool stopping_ = false;
};

}  // namespace xenpv::nbd
