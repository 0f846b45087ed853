// One client connection, from accept to close: option haggling under a time limit, including the
// TLS handshake, then a session. Runs on the thread of its queue.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <functional>
#include <memory>
#include <string>

#include "nbd/negotiation.hpp"
#include "nbd/session.hpp"
#include "nbd/tls_stream.hpp"
#include "xenpv/blk/block_device.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::nbd {

using client_socket = asio::generic::stream_protocol::socket;

struct connection_options {
  negotiation_options haggling;
  std::shared_ptr<const tls_credentials> credentials;  ///< required unless `haggling.tls` is off
  std::chrono::nanoseconds handshake_limit{};
};

class connection final : public std::enable_shared_from_this<connection> {
 public:
  connection(std::uint64_t number, unique_fd socket, blk::block_queue& queue,
             std::size_t queue_index, connection_options options);

  /// Serves the client until the connection ends. Never throws. Returns whether an export was
  /// negotiated.
  [[nodiscard]] asio::awaitable<bool> run();
  /// Call this function and the following ones only on the connection's thread.
  void drain();
  void hang_up() noexcept;
  void reshape(const export_info& info);
  [[nodiscard]] client_statistics statistics() const;
  /// Whether the client sent NBD_CMD_DISC. Valid after run().
  [[nodiscard]] bool disconnect_received() const noexcept {
    return session_ && session_->disconnect_received();
  }

  [[nodiscard]] asio::any_io_executor get_executor() const { return queue_.get_executor(); }
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }

 private:
  [[nodiscard]] asio::awaitable<bool> haggle();
  [[nodiscard]] asio::awaitable<void> start_tls();
  [[nodiscard]] asio::awaitable<void> send(std::string_view bytes);
  [[nodiscard]] asio::awaitable<void> receive();
  [[nodiscard]] asio::awaitable<void> serve();
  [[nodiscard]] asio::awaitable<void> linger();
  [[nodiscard]] std::unique_ptr<transmission> make_session();
  void report(std::string_view problem) const;

  std::uint64_t number_;
  blk::block_queue& queue_;
  std::size_t queue_index_;
  std::string peer_;
  client_socket socket_;
  std::unique_ptr<tls_stream> tls_;  ///< uses socket_; set after NBD_OPT_STARTTLS
  bool received_through_tls_ = false;
  negotiation machine_;
  std::shared_ptr<const tls_credentials> credentials_;
  std::chrono::nanoseconds handshake_limit_;
  bool draining_ = false;
  std::unique_ptr<transmission> session_;
  std::optional<export_info> new_export_;
};

}  // namespace xenpv::nbd
