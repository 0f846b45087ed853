// One packet over an AF_UNIX SOCK_SEQPACKET socket, with at most one descriptor beside it.
// Blocking, also where the socket was made non-blocking; retries EINTR, never raises SIGPIPE. Knows
// nothing of what the bytes mean.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::xen {

/// Most bytes a packet may have.
inline constexpr std::size_t packet_limit = 65'536;

struct packet {
  std::string bytes;     ///< never empty
  unique_fd descriptor;  ///< close-on-exec; none when none came
};

/// Sends `bytes` (not empty, at most packet_limit) and a duplicate of `descriptor` unless it is -1.
/// False when nobody holds the other end any more. Throws `failure` for everything else.
[[nodiscard]] bool send_packet(int socket, std::string_view bytes, int descriptor = -1);

/// The next packet; nullopt when nobody holds the other end any more. Throws `failure`.
[[nodiscard]] std::optional<packet> receive_packet(int socket);

}  // namespace xenpv::xen
