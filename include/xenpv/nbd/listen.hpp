// Listening sockets for an NBD server: Unix, TCP, or passed by a service manager.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::nbd {

/// Listens on a Unix socket at `path`. `mode` and, if given, `group` are set before others can
/// connect. Replaces a stale socket; a socket in use is an error. Throws `failure`.
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
/// Listens on each address of the host that this machine supports, with one socket per address.
/// Port "0" selects any free port, the same for all sockets. Throws `failure`.
[[nodiscard]] std::vector<unique_fd> listen_tcp(const tcp_address& address);

/// Returns the local port of a TCP socket: "10809".
[[nodiscard]] std::string port_of(const unique_fd& socket);

/// Returns the listening sockets passed by the service manager (sd_listen_fds(3)); empty if
/// LISTEN_FDS is not set for this process. Unsets the environment variables, so that child
/// processes do not use them. Throws `failure` for a descriptor that is not a listening stream
/// socket.
[[nodiscard]] std::vector<unique_fd> inherited_listeners();

}  // namespace xenpv::nbd
