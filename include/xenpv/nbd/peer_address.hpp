// The address of one end of a connection: a Unix, IPv4, IPv6 or vsock address, as a value that can
// be compared and displayed. No I/O: the caller gets the address from the kernel.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>

namespace xenpv::nbd {

/// The address of a client, or the local address of a listening socket.
struct peer_address {
  /// Decides which of the members have a meaning.
  enum class family : std::uint8_t {
    unix_socket,
    ipv4,   ///< also an IPv4-mapped IPv6 address
    ipv6,   ///< `bytes`, `scope` and `port`
    vsock,  ///< `number` is the context ID (CID)
    other,  ///< `number` is the value of AF_...
  };

  family kind = family::other;           ///< determines the meaning of the other members
  std::array<std::uint8_t, 16> bytes{};  ///< network order; IPv4: the first four
  std::uint32_t scope = 0;               ///< interface of a link-local IPv6 address
  std::uint32_t number = 0;              ///< see family
  std::uint32_t port = 0;                ///< 0: unknown, or a Unix socket

  friend bool operator==(const peer_address&, const peer_address&) = default;
};

/// Converts an address that the kernel returned. Truncated addresses are of kind `other`.
[[nodiscard]] peer_address to_peer_address(const sockaddr* address, socklen_t size) noexcept;

/// "unix", "192.0.2.7:41312", "[2001:db8::1]:41312", "[fe80::1%2]:41312", "vsock:3:1023",
/// "address family 16".
[[nodiscard]] std::string to_string(const peer_address& address);

/// True if only a process on this machine can have the address, at either end of a connection: a
/// Unix socket, a loopback address, or the local vsock CID.
[[nodiscard]] bool is_local(const peer_address& address) noexcept;

/// Returns the address without its port, and without the last 64 bits of an IPv6 address: one site
/// or host can use all of them. For limits per client address.
[[nodiscard]] peer_address network_of(const peer_address& address) noexcept;

}  // namespace xenpv::nbd
