// An NBD server for one block device: listens, agrees with each client on the export, and serves it
// on the CPU of one of the device's queues.
//
// Owned by the control thread, which runs accept and the end of everything; a connection lives on
// its queue's thread from its first byte to its last. Exports one device; does not own it.
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
  std::string export_name;  ///< also what the empty name means
  std::string description;
  bool read_only = false;
  bool multi_conn = true;  ///< a flush on one connection covers what was answered on all
  unsigned max_connections = 16;
  /// From accept to the first request, a TLS handshake included; the document asks for some bound.
  std::chrono::nanoseconds handshake_limit = std::chrono::seconds(10);
  /// How long stop() lets clients finish.
  std::chrono::nanoseconds drain_limit = std::chrono::seconds(10);
  tls_mode tls = tls_mode::off;
  /// Needed unless `tls` is off.
  std::shared_ptr<const tls_credentials> credentials;
};

/// What clients can be offered as a name: at most 1023 bytes of UTF-8 without a NUL. The
/// constructor of a server refuses others, too; this tells before there is a device.
[[nodiscard]] result<void> check_export_name(const std::string& name);

struct server_statistics {
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;  ///< beyond max_connections
  std::uint64_t failed_handshakes = 0;
  std::size_t connections = 0;  ///< now
};

/// Of one connection; the counters are those of its session.
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
  std::string user;  ///< whose key, or the subject of the certificate; empty: anybody
};

/// What the export looks like now, of a device's queue.
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
  /// Serves a connected stream socket whose client needs no handshake, because it was told size and
  /// transmission_flags() in another way: the kernel's NBD driver. On queue `queue`, and besides
  /// max_connections. `ended` is called on the control thread when that is over, maybe from within
  /// this call, with whether the client took its leave (NBD_CMD_DISC).
  void serve_agreed(unique_fd socket, std::size_t queue, std::function<void(bool)> ended);
  /// As such a client has to know them.
  [[nodiscard]] std::uint16_t transmission_flags() const;
  /// The device's shape has changed: connections judge requests by the new one, and new clients are
  /// told of it. NBD cannot tell those that are connected.
  void reshape(const blk::geometry& shape);

  /// Stops listening, lets every client's requests in flight be answered (bounded by drain_limit),
  /// and hangs up. Returns when no connection is left. Again is harmless.
  [[nodiscard]] async::asio::awaitable<void> stop();
  /// Hangs up on everybody now; for the second signal of somebody in a hurry.
  void hang_up();

  [[nodiscard]] server_statistics statistics() const noexcept;
  [[nodiscard]] async::asio::awaitable<std::vector<client_statistics>> clients();

 private:
  class state;
  std::shared_ptr<state> state_;
};

}  // namespace xenpv::nbd
