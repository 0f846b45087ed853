// An NBD server for one block device: listens, negotiates the export with each client, and serves
// it on the CPU of one of the device's queues.
//
// Owned by the control thread, which accepts clients and shuts down; a connection lives on its
// queue's thread from its first byte to its last. Exports one device; does not own it.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/blk/block_device.hpp"
#include "xenpv/nbd/tls_credentials.hpp"
#include "xenpv/nbd/tls_mode.hpp"

namespace xenpv::nbd {

struct server_options {
  std::string export_name;  ///< the empty name selects it, too
  std::string description;
  bool read_only = false;
  bool multi_conn = true;  ///< a flush on one connection covers the writes answered on all
  unsigned max_connections = 16;
  /// From accept to the first request, including a TLS handshake; the protocol asks for a limit.
  std::chrono::nanoseconds handshake_limit = std::chrono::seconds(10);
  /// How long stop() waits for clients to finish.
  std::chrono::nanoseconds drain_limit = std::chrono::seconds(10);
  tls_mode tls = tls_mode::off;
  /// Required unless `tls` is off.
  std::shared_ptr<const tls_credentials> credentials;
};

/// Checks a name for an export: at most 1023 bytes of UTF-8 without a NUL. The server's constructor
/// refuses other names, too; this check needs no device.
[[nodiscard]] result<void> check_export_name(const std::string& name);

struct server_statistics {
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;  ///< beyond max_connections
  std::uint64_t failed_handshakes = 0;
  std::size_t connections = 0;  ///< now
};

/// One connection, with the counters of its session.
struct client_statistics {
  std::uint64_t number = 0;
  std::string peer;  ///< "unix", "192.0.2.7:41312"
  std::size_t queue = 0;
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t from_heap = 0;
  std::string tls;   ///< "TLSv1.3 TLS_AES_128_GCM_SHA256"; empty: plaintext
  std::string user;  ///< the user of its key, or its certificate's subject; empty: anonymous
};

class server {
 public:
  /// `device` outlives the server. Throws `failure` when TLS is asked for without credentials.
  server(const async::asio::any_io_executor& control, blk::block_device& device,
         server_options options);
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  /// Accepts on a listening stream socket (Unix or TCP) from now on.
  void listen(unique_fd listener);
  /// Serves a connected stream socket, from its greeting on.
  void serve(unique_fd socket);
  /// Serves a connected stream socket on queue `queue` without a handshake. For a client that got
  /// the size and transmission_flags() in another way: the kernel's NBD driver. Does not count
  /// towards max_connections. `ended` is called on the control thread when the connection is over,
  /// possibly from within this call; its argument is whether the client sent NBD_CMD_DISC.
  void serve_agreed(unique_fd socket, std::size_t queue, std::function<void(bool)> ended);
  /// The flags that such a client needs.
  [[nodiscard]] std::uint16_t transmission_flags() const;
  /// The device's geometry has changed: connections check requests against the new one, and new
  /// clients get it. NBD cannot notify connected clients.
  void reshape(const blk::geometry& geometry);

  /// Stops listening, answers all requests in flight (bounded by drain_limit), and hangs up.
  /// Returns when no connection is left. Idempotent.
  [[nodiscard]] async::asio::awaitable<void> stop();
  /// Closes all connections at once; for a second termination signal.
  void hang_up();

  [[nodiscard]] server_statistics statistics() const noexcept;
  [[nodiscard]] async::asio::awaitable<std::vector<client_statistics>> clients();

 private:
  class state;
  std::shared_ptr<state> state_;
};

}  // namespace xenpv::nbd
