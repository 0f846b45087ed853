// Sends and receives packets, each with at most one descriptor, over an AF_UNIX SOCK_SEQPACKET
// socket. Blocks even if the socket is non-blocking; retries on EINTR; never raises SIGPIPE. Does
// not interpret the bytes.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::xen {

/// Maximum size of a packet, in bytes.
inline constexpr std::size_t packet_limit = 65'536;

struct packet {
  std::string bytes;     ///< never empty
  unique_fd descriptor;  ///< close-on-exec; empty if none was sent
};

/// Sends `bytes` (not empty, at most packet_limit) and a duplicate of `descriptor` unless it is -1.
/// Returns false if the peer has closed its end. Throws `failure` for all other errors.
[[nodiscard]] bool send_packet(int socket, std::string_view bytes, int descriptor = -1);

/// Receives the next packet. Returns nullopt if the peer has closed its end. Throws `failure`.
[[nodiscard]] std::optional<packet> receive_packet(int socket);

}  // namespace xenpv::xen
