#include "xenpv/nbd/peer_address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace xenpv::nbd {
namespace {

using family = peer_address::family;

constexpr std::uint32_t local_cid = 1;  ///< VMADDR_CID_LOCAL, which old headers lack

template <class Address>
Address copy_as(const sockaddr* address) noexcept {
  Address out;
  std::memcpy(&out, address, sizeof out);
  return out;
}

peer_address from_ipv6(const sockaddr_in6& raw) noexcept {
  peer_address out;
  out.port = ntohs(raw.sin6_port);
  const auto* const bytes = raw.sin6_addr.s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&raw.sin6_addr)) {
    out.kind = family::ipv4;
    std::copy_n(bytes + 12, 4, out.bytes.begin());
    return out;
  }
  out.kind = family::ipv6;
  std::copy_n(bytes, 16, out.bytes.begin());
  if (IN6_IS_ADDR_LINKLOCAL(&raw.sin6_addr)) out.scope = raw.sin6_scope_id;
  return out;
}

}  // namespace

peer_address to_peer_address(const sockaddr* address, socklen_t size) noexcept {
  peer_address out;
  if (size < sizeof address->sa_family) return out;
  const auto number = address->sa_family;
  if (number == AF_UNIX) {
    out.kind = family::unix_socket;
  } else if (number == AF_INET && size >= sizeof(sockaddr_in)) {
    const auto raw = copy_as<sockaddr_in>(address);
    out.kind = family::ipv4;
    std::memcpy(out.bytes.data(), &raw.sin_addr, sizeof raw.sin_addr);
    out.port = ntohs(raw.sin_port);
  } else if (number == AF_INET6 && size >= sizeof(sockaddr_in6)) {
    out = from_ipv6(copy_as<sockaddr_in6>(address));
  } else if (number == AF_VSOCK && size >= sizeof(sockaddr_vm)) {
    const auto raw = copy_as<sockaddr_vm>(address);
    out.kind = family::vsock;
    out.number = raw.svm_cid;
    out.port = raw.svm_port;
  } else {
    out.number = number;
  }
  return out;
}

std::string to_string(const peer_address& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  switch (address.kind) {
    case family::unix_socket:
      return "unix";
    case family::ipv4:
      ::inet_ntop(AF_INET, address.bytes.data(), text.data(), text.size());
      return fmt::format("{}:{}", text.data(), address.port);
    case family::ipv6:
      ::inet_ntop(AF_INET6, address.bytes.data(), text.data(), text.size());
      return address.scope == 0
                 ? fmt::format("[{}]:{}", text.data(), address.port)
                 : fmt::format("[{}%{}]:{}", text.data(), address.scope, address.port);
    case family::vsock:
      return fmt::format("vsock:{}:{}", address.number, address.port);
    case family::other:
      break;
  }
  return fmt::format("address family {}", address.number);
}

bool is_local(const peer_address& address) noexcept {
  constexpr std::array<std::uint8_t, 16> ipv6_loopback = {0, 0, 0, 0, 0, 0, 0, 0,
                                                          0, 0, 0, 0, 0, 0, 0, 1};
  switch (address.kind) {
    case family::unix_socket:
      return true;
    case family::ipv4:
      return address.bytes[0] == IN_LOOPBACKNET;
    case family::ipv6:
      return address.bytes == ipv6_loopback;
    case family::vsock:
      return address.number == local_cid;
    case family::other:
      break;
  }
  return false;
}

peer_address network_of(const peer_address& address) noexcept {
  auto out = address;
  out.port = 0;
  if (out.kind == family::ipv6) std::fill(out.bytes.begin() + 8, out.bytes.end(), std::uint8_t{0});
  return out;
}

}  // namespace xenpv::nbd
