// Listening sockets for an NBD server: Unix, TCP, or handed over by a service manager.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::nbd {

/// A Unix socket at `path`. `mode` and, if given, `group` are set before others can connect.
/// Replaces a stale socket; a socket in use is an error. Throws `failure`.
[[nodiscard]] unique_fd listen_unix(const std::string& path, mode_t mode = 0600,
                                    std::optional<gid_t> group = {});

struct tcp_address {
  std::string host;  ///< a name or a numeric address; empty: all local addresses
  std::string port;
  friend bool operator==(const tcp_address&, const tcp_address&) = default;
};
/// "HOST:PORT", "[2001:db8::1]:10809", ":10809", "HOST" (port 10809).
[[nodiscard]] result<tcp_address> parse_tcp_address(std::string_view text);
/// One socket for each address of the host that this machine supports. Port "0": any free port, the
/// same for all of them. Throws `failure`.
[[nodiscard]] std::vector<unique_fd> listen_tcp(const tcp_address& address);

/// The local port of a TCP socket: "10809".
[[nodiscard]] std::string port_of(const unique_fd& socket);

/// The sockets of sd_listen_fds(3), which must already listen; none without LISTEN_FDS for this
/// process. Unsets the variables, so that no child process uses them. Throws `failure` for any
/// other kind of descriptor.
[[nodiscard]] std::vector<unique_fd> inherited_listeners();

}  // namespace xenpv::nbd
