// Listening sockets for an NBD server: Unix, TCP, vsock, or passed by a service manager.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/nbd/peer_address.hpp"

namespace xenpv::nbd {

/// Listens on a Unix socket at `path`. `mode` and, if given, `group` are set before others can
/// connect, and only on the socket itself: never on a file that replaces it meanwhile. Replaces a
/// stale socket; a socket in use is an error, and so is the name of an abstract socket ("@name"),
/// which would have no permissions. Throws `failure`.
[[nodiscard]] unique_fd listen_unix(const std::string& path, mode_t mode = 0600,
                                    std::optional<gid_t> group = {});

/// An address to listen on.
struct tcp_address {
  std::string host;  ///< a name or a numeric address; empty: all local addresses
  std::string port;  ///< a number or a service name
  friend bool operator==(const tcp_address&, const tcp_address&) = default;
};
/// "HOST:PORT", "[2001:db8::1]:10809", ":10809", "HOST" (port 10809).
[[nodiscard]] result<tcp_address> parse_tcp_address(std::string_view text);
/// Listens on each address of the host that this machine supports, with one socket per address;
/// ignores duplicate addresses. Port "0" selects any free port, the same for all sockets. Throws
/// `failure`.
[[nodiscard]] std::vector<unique_fd> listen_tcp(const tcp_address& address);

/// A vsock address to listen on.
struct vsock_address {
  std::optional<std::uint32_t> cid;  ///< context ID of this machine; unset: any
  std::uint32_t port = 10809;        ///< 0: any free port
  friend bool operator==(const vsock_address&, const vsock_address&) = default;
};
/// "PORT", ":PORT" or "CID:PORT".
[[nodiscard]] result<vsock_address> parse_vsock_address(std::string_view text);
/// Listens on a vsock address, for other guests and the host. Port 0 selects any free port. Throws
/// `failure`: errc::not_available if the kernel does not support vsock.
[[nodiscard]] unique_fd listen_vsock(const vsock_address& address);
/// Returns the context ID of this machine, which peers connect to; nullopt if it has none.
[[nodiscard]] std::optional<std::uint32_t> local_vsock_cid();

/// Returns the address to which a socket is bound.
[[nodiscard]] peer_address local_address_of(int socket) noexcept;

/// Returns the local port of a TCP or vsock socket: "10809".
[[nodiscard]] std::string port_of(const unique_fd& socket);

/// Returns the listening sockets passed by the service manager (sd_listen_fds(3)); empty if
/// LISTEN_FDS is not set for this process. Unsets the environment variables, so that child
/// processes do not use them. Throws `failure` for a descriptor that is not a listening stream
/// socket.
[[nodiscard]] std::vector<unique_fd> inherited_listeners();

}  // namespace xenpv::nbd
