// An NBD server for one block device: listens, negotiates the export with each client, and serves
// the client on a device queue's CPU.
//
// Used on the control thread, which accepts clients and shuts down the server. Each connection runs
// entirely on the thread of its queue. Exports one device, which it does not own.
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

/// Options of a server.
struct server_options {
  std::string export_name;        ///< clients may also use the empty name
  std::string description;        ///< sent to clients that list the exports or ask for it
  bool read_only = false;         ///< refuse writes, even if the device accepts them
  bool multi_conn = true;         ///< a flush covers completed writes on all connections
  unsigned max_connections = 16;  ///< further clients are disconnected
  /// Time from accept to the first request, including TLS. The protocol asks for such a limit.
  std::chrono::nanoseconds handshake_limit = std::chrono::seconds(10);
  /// How long stop() waits for clients to finish.
  std::chrono::nanoseconds drain_limit = std::chrono::seconds(10);
  tls_mode tls = tls_mode::off;  ///< whether clients may or must use TLS
  /// Required unless `tls` is off.
  std::shared_ptr<const tls_credentials> credentials;
};

/// Checks an export name: at most 1023 bytes of UTF-8 without a NUL. The constructor of `server`
/// makes the same check; this function does not need a device.
[[nodiscard]] result<void> check_export_name(const std::string& name);

/// Counts since the server was created.
struct server_statistics {
  std::uint64_t accepted = 0;  ///< connections that were served, including those of serve_agreed()
  std::uint64_t refused = 0;   ///< because of max_connections
  std::uint64_t failed_handshakes = 0;  ///< connections that ended before the negotiation did
  std::size_t connections = 0;          ///< currently open
};

/// Statistics of one connection.
struct client_statistics {
  std::uint64_t number = 0;         ///< counted from 1; names the client in the log
  std::string peer;                 ///< "unix", "192.0.2.7:41312"
  std::size_t queue = 0;            ///< index of the device queue
  std::uint64_t requests = 0;       ///< received
  std::uint64_t errors = 0;         ///< error replies
  std::uint64_t bytes_read = 0;     ///< by the client
  std::uint64_t bytes_written = 0;  ///< by the client
  std::uint64_t from_heap = 0;  ///< device requests that used heap memory instead of granted pages
  std::string tls;              ///< "TLSv1.3 TLS_AES_128_GCM_SHA256"; empty: plaintext
  std::string user;             ///< the key's user or the certificate's subject; empty: anonymous
};

class server {
 public:
  using executor_type = asio::any_io_executor;

  /// `device` must outlive the server. Throws `failure` if TLS is enabled without credentials.
  server(const asio::any_io_executor& control, blk::block_device& device, server_options options);
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  /// The control executor.
  [[nodiscard]] executor_type get_executor() const noexcept;

  /// Starts accepting clients on a listening stream socket (Unix or TCP).
  void listen(unique_fd listener);
  /// Serves a client on a connected stream socket, starting with the greeting.
  void serve(unique_fd socket);
  /// Serves a client on a connected stream socket, on queue `queue`, without a handshake. For the
  /// kernel NBD driver, which receives the size and transmission_flags() by other means. Does not
  /// count towards max_connections. `ended` is called on the control thread when the connection
  /// ends, possibly before this function returns; its argument is true if the client sent
  /// NBD_CMD_DISC.
  void serve_agreed(unique_fd socket, std::size_t queue, std::function<void(bool)> ended);
  /// The transmission flags for a client of serve_agreed().
  [[nodiscard]] std::uint16_t transmission_flags() const;
  /// Call when the geometry of the device has changed: connections check requests against the new
  /// geometry, and new clients receive it. NBD cannot notify connected clients.
  void reshape(const blk::geometry& geometry);

  /// Stops listening, answers all requests in flight (for at most drain_limit), and closes the
  /// connections. Returns when all connections have ended. Idempotent.
  [[nodiscard]] asio::awaitable<void> stop();
  /// Closes all connections immediately; used on a second termination signal.
  void hang_up();

  /// Call on the control thread.
  [[nodiscard]] server_statistics statistics() const noexcept;
  /// Returns the statistics of each open connection, taken on the connection's thread. Call on the
  /// control thread.
  [[nodiscard]] asio::awaitable<std::vector<client_statistics>> clients();

 private:
  class state;
  std::shared_ptr<state> state_;
};

}  // namespace xenpv::nbd
