// Operations on a client's socket other than reading and writing: addresses, options, and queries
// of its state. Stateless; the connection owns the socket.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <chrono>
#include <string>

#include "xenpv/async/asio.hpp"
#include "xenpv/nbd/peer_address.hpp"

namespace xenpv::nbd {

using client_socket = asio::generic::stream_protocol::socket;

/// Returns the socket's protocol, which Asio requires to adopt the socket. Throws `failure` for a
/// descriptor that is not a socket.
[[nodiscard]] asio::generic::stream_protocol protocol_of(int socket);

/// Returns the client's address. Sockets without an address, such as those of a socket pair, count
/// as Unix sockets.
[[nodiscard]] peer_address peer_of_client(int socket) noexcept;
/// Returns the name of a listening socket for the user: "unix /run/xenpv/xvdb.sock", "tcp
/// 127.0.0.1:10809".
[[nodiscard]] std::string listener_name(int socket);

/// A client whose machine or network has failed is disconnected after about this time.
inline constexpr std::chrono::seconds dead_client_limit{60};

/// Sets the options for a client's socket. TCP: no delay; keepalive probes, which detect a dead
/// idle client after dead_client_limit; and TCP_USER_TIMEOUT for a client that does not acknowledge
/// or, if it is alive, accept sent data for that time or `progress_limit`, whichever is longer.
/// Without a `progress_limit` (0), clients may take any time, so that only the kernel's limit for
/// retransmissions applies.
void set_client_options(int socket, std::chrono::nanoseconds progress_limit) noexcept;

/// Whether written bytes are still unsent or unacknowledged.
[[nodiscard]] bool has_unsent(int socket) noexcept;
/// Discards received bytes, up to a limit, so that a client that keeps sending cannot hold it up.
void discard_input(int socket) noexcept;
/// Whether the client has closed its side of the connection, even if it sent data before. It may
/// still read replies.
[[nodiscard]] bool has_hung_up(int socket) noexcept;
/// Whether the connection is closed in both directions, or was reset.
[[nodiscard]] bool is_disconnected(int socket) noexcept;

}  // namespace xenpv::nbd
