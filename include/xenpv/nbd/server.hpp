// An NBD server for block devices: listens, negotiates an export with each client, and serves the
// client on a device queue's CPU.
//
// Used on the control thread, which accepts clients and shuts down the server. Handshakes can run
// on a dedicated thread, so that they delay neither the control thread nor clients. Each served
// connection runs entirely on the thread of its queue. Does not own the devices.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "xenpv/async/asio.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/blk/block_device.hpp"
#include "xenpv/nbd/access_list.hpp"
#include "xenpv/nbd/tls_credentials.hpp"
#include "xenpv/nbd/tls_mode.hpp"

namespace xenpv::nbd {

/// Options of a server.
struct server_options {
  /// Maximum number of clients that use an export at a time. Further clients wait after their
  /// handshake until another client disconnects. Clients without credentials do not count.
  unsigned max_connections = 16;
  /// Maximum number of unfinished handshakes. If it is exceeded, the server ends the oldest
  /// handshake of the listening socket with the most handshakes.
  unsigned max_handshakes = 128;
  /// Clients that may wait for others to leave; further ones are refused.
  unsigned max_waiting = 64;
  /// Connections of one source address (IPv4 address or IPv6 /64 network) that may use an export or
  /// wait; further ones are refused. 0: three quarters of max_connections, but at least 4. Local
  /// addresses are not limited.
  unsigned max_per_address = 0;
  /// Time from accept to the selection of an export, including TLS. The protocol
  /// document recommends such a limit.
  std::chrono::nanoseconds handshake_limit = std::chrono::seconds(10);
  /// Clients that make no progress for this time, with replies or a payload outstanding, are
  /// disconnected. 0: never. Idle clients are not affected.
  std::chrono::nanoseconds progress_limit = std::chrono::seconds(60);
  /// How long the connected clients of a withdrawn export stay; see server::withdraw().
  std::chrono::nanoseconds withdrawal_delay = std::chrono::seconds(1);
  /// How long stop() waits for requests in flight.
  std::chrono::nanoseconds drain_limit = std::chrono::seconds(10);
  /// Memory for requests, in bytes, shared by all clients; device pages do not count.
  std::uint64_t memory_limit = std::uint64_t{256} << 20;
  tls_mode tls = tls_mode::off;  ///< whether clients may or must use TLS
  /// Required unless `tls` is off.
  std::shared_ptr<const tls_credentials> credentials;
  /// Restricts access; null: all clients may read and write.
  std::shared_ptr<const access_list> access;
  /// Where handshakes run: an executor with exactly one thread, which must run until stop() has
  /// returned, preferably one of low priority. Null: the control executor.
  asio::any_io_executor handshakes;
};

/// Options of an export.
struct export_options {
  std::string name;         ///< clients request it by this name
  std::string description;  ///< sent to clients that list the exports or ask for it
  bool read_only = false;   ///< refuse writes, even if the device accepts them
  /// A flush covers completed writes on all connections. Announced only if max_connections is at
  /// least 4, because clients then open several connections, usually four, and fail or hang if they
  /// do not get all of them.
  bool multi_conn = true;
  std::uint64_t first = 0;  ///< first byte of the device to export
  std::uint64_t size = 0;   ///< bytes to export; 0: up to the end of the device
  /// Clients that request no name get this export; if no export is the default, the first one.
  bool is_default = false;
};

/// Checks an export name: at most 1023 bytes of UTF-8 without a NUL. server::add_export() makes the
/// same check; this function does not need a device.
[[nodiscard]] result<void> check_export_name(const std::string& name);

/// Counts since the server was created.
struct server_statistics {
  std::uint64_t accepted = 0;  ///< connections that were served, including those of serve_agreed()
  std::uint64_t refused = 0;   ///< because of a limit or the access list
  std::uint64_t evicted = 0;   ///< handshakes that were ended to make room for others
  std::uint64_t failed_handshakes = 0;  ///< connections that ended before they were served
  std::size_t connections = 0;          ///< currently open, including the following two
  std::size_t handshakes = 0;           ///< currently in the handshake
  std::size_t waiting = 0;              ///< currently waiting for another client to leave
  std::uint64_t memory_used = 0;        ///< bytes of memory_limit in use
  std::uint64_t memory_most = 0;        ///< largest value of memory_used
  std::uint64_t memory_limit = 0;       ///< in bytes
};

/// Statistics of one connection.
struct client_statistics {
  std::uint64_t number = 0;         ///< counted from 1; names the client in the log
  std::string peer;                 ///< "unix", "192.0.2.7:41312"
  std::string listener;             ///< "unix /run/xenpv/xvdb.sock"; empty: serve() or the kernel
  std::string export_name;          ///< the export in use
  std::size_t queue = 0;            ///< index of the device queue
  bool read_only = false;           ///< for this client
  std::uint64_t requests = 0;       ///< received
  std::uint64_t errors = 0;         ///< error replies
  std::uint64_t bytes_read = 0;     ///< by the client
  std::uint64_t bytes_written = 0;  ///< by the client
  std::uint64_t from_heap = 0;  ///< device requests that used heap memory instead of granted pages
  std::string tls;              ///< "TLSv1.3 TLS_AES_128_GCM_SHA256"; empty: plaintext
  std::string user;             ///< the key's user or the certificate's subject; empty: anonymous
  std::string identity;         ///< as in an access list: "psk:alice"; empty: anonymous
  std::chrono::nanoseconds age{};   ///< since the connection was accepted
  std::chrono::nanoseconds idle{};  ///< since the last request was received
};

class server {
 public:
  using executor_type = asio::any_io_executor;

  /// Throws `failure` if TLS is enabled without credentials.
  server(const asio::any_io_executor& control, server_options options);
  ~server();
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  /// The control executor.
  [[nodiscard]] executor_type get_executor() const noexcept;

  /// Exports a device, or part of it, to clients that connect after this call. `device` must
  /// outlive the server. Throws `failure` if the name is invalid or in use, if the part is not
  /// within the device, or if it is marked as the default and another export already is.
  void add_export(blk::block_device& device, export_options options);

  /// Starts accepting clients on a listening stream socket.
  void listen(unique_fd listener);
  /// Serves a client on a connected stream socket, starting with the greeting.
  void serve(unique_fd socket);
  /// Serves a client on a connected stream socket, on queue `queue` of the default export's device,
  /// without a handshake. For the kernel NBD driver, which receives the size and
  /// transmission_flags() by other means. No limit applies to it. `ended` is called on the control
  /// thread when the connection ends, possibly before this function returns; its argument is true
  /// if the client sent NBD_CMD_DISC.
  void serve_agreed(unique_fd socket, std::size_t queue, std::function<void(bool)> ended);
  /// The transmission flags for a client of serve_agreed().
  [[nodiscard]] std::uint16_t transmission_flags() const;
  /// Call when the geometry of a device has changed: connections check requests against the new
  /// geometry, and new clients receive it. NBD cannot notify connected clients.
  void reshape(const blk::block_device& device, const blk::geometry& geometry);

  /// Call when `device` is permanently lost. Its exports are no longer listed, and a client that
  /// requests one is refused with NBD_REP_ERR_UNKNOWN and `reason`. Connected clients stay for
  /// withdrawal_delay, during which the device fails their requests: otherwise, they would only see
  /// the connection close, without an error. A client whose handshake ends during that time is
  /// disconnected immediately. Idempotent.
  void withdraw(const blk::block_device& device, const std::string& reason);

  /// Replace the access list (null: no restrictions) or the credentials for handshakes that begin
  /// after this call. Connected clients stay and keep their rights; see disconnect().
  /// set_credentials() throws `failure` if TLS is enabled and `credentials` is null.
  /// @{
  void set_access(std::shared_ptr<const access_list> access);
  void set_credentials(std::shared_ptr<const tls_credentials> credentials);
  /// @}

  /// Disconnects the client with this number (client_statistics::number) immediately: its requests
  /// in flight complete at the device, without replies. Returns false if there is none.
  bool disconnect(std::uint64_t number);

  /// Stops listening, ends handshakes immediately, answers all requests in flight (for at most
  /// drain_limit), and closes the connections. Returns when all connections have ended. Idempotent.
  [[nodiscard]] asio::awaitable<void> stop();
  /// Closes all connections immediately; used on a second termination signal.
  void hang_up();

  /// Call on the control thread.
  [[nodiscard]] server_statistics statistics() const noexcept;
  /// Returns the statistics of each served connection, taken on the connection's thread. Call on
  /// the control thread.
  [[nodiscard]] asio::awaitable<std::vector<client_statistics>> clients();

 private:
  class state;
  std::shared_ptr<state> state_;
};

}  // namespace xenpv::nbd
