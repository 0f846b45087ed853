// Send and receive one SEQPACKET message with an optional descriptor. Used by the host and by
// libxensim; depends only on the C library.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

/// Sends `header` and `body` as one message, with `fd` attached unless it is -1. Returns false and
/// sets errno on failure.
inline bool send_message(int socket, const void* header, std::size_t header_size, const void* body,
                         std::size_t body_size, int fd = -1) noexcept {
  iovec parts[2] = {{const_cast<void*>(header), header_size}, {const_cast<void*>(body), body_size}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = body_size == 0 ? 1 : 2;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* attached = CMSG_FIRSTHDR(&message);
    attached->cmsg_level = SOL_SOCKET;
    attached->cmsg_type = SCM_RIGHTS;
    attached->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(attached), &fd, sizeof fd);
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return true;
    if (errno != EINTR) return false;
  }
}

/// Receives one message into `header` and `body`, and stores an attached descriptor in `fd`.
/// Returns the size of the body, or -1 with errno set (0: the peer disconnected; EPROTO: the
/// message is truncated or shorter than its header).
inline std::ptrdiff_t receive_message(int socket, void* header, std::size_t header_size, void* body,
                                      std::size_t body_size, unique_fd& fd,
                                      int flags = 0) noexcept {
  iovec parts[2] = {{header, header_size}, {body, body_size}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return -1;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    int received = -1;
    std::memcpy(&received, CMSG_DATA(c), sizeof received);
    fd.reset(received);
  }
  if (got == 0) {
    errno = 0;
    return -1;
  }
  if (static_cast<std::size_t>(got) < header_size || (message.msg_flags & MSG_TRUNC) != 0) {
    errno = EPROTO;
    return -1;
  }
  return got - static_cast<ssize_t>(header_size);
}

}  // namespace xenpv::sim
