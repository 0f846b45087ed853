#include "xen/packet_socket.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "xenpv/base/error.hpp"

namespace xenpv::xen {
namespace {

/// Space for the control message that carries one descriptor.
struct control_buffer {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> bytes{};
};

/// Waits explicitly, because the socket may be non-blocking: code that watches a duplicate may have
/// set O_NONBLOCK, which applies to both descriptors.
void wait_until_ready(int socket, short events) {
  pollfd entry{.fd = socket, .events = events, .revents = 0};
  static_cast<void>(::poll(&entry, 1, -1));
}

unique_fd take_descriptor(msghdr& message) {
  unique_fd taken;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    if (header->cmsg_len != CMSG_LEN(sizeof(int))) continue;
    int descriptor = -1;
    std::memcpy(&descriptor, CMSG_DATA(header), sizeof(descriptor));
    taken.reset(descriptor);
  }
  return taken;
}

}  // namespace

bool send_packet(int socket, std::string_view bytes, int descriptor) {
  // sendmsg(2) does not write to the buffer, but iov_base is not const.
  iovec payload{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &payload;
  message.msg_iovlen = 1;
  control_buffer control;
  if (descriptor >= 0) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = control.bytes.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof(descriptor));
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return true;
    if (errno == EPIPE || errno == ECONNRESET) return false;
    if (errno == EAGAIN)
      wait_until_ready(socket, POLLOUT);
    else if (errno != EINTR)
      throw_errno("send a packet");
  }
}

std::optional<packet> receive_packet(int socket) {
  packet received;
  received.bytes.resize(packet_limit);
  iovec payload{received.bytes.data(), received.bytes.size()};
  control_buffer control;
  for (;;) {
    msghdr message{};
    message.msg_iov = &payload;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.data();
    message.msg_controllen = control.bytes.size();
    const auto size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    // ECONNRESET: the peer closed its end before reading all packets.
    if (size == 0 || (size < 0 && errno == ECONNRESET)) return std::nullopt;
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) {
      wait_until_ready(socket, POLLIN);
      continue;
    }
    if (size < 0) throw_errno("receive a packet");
    received.descriptor = take_descriptor(message);
    received.bytes.resize(static_cast<std::size_t>(size));
    return received;
  }
}

}  // namespace xenpv::xen
