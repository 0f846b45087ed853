#include "contract/raw_store.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "contract/c_libraries.hpp"

namespace xenpv::contract {

namespace {

[[noreturn]] void fail(const char* operation, int error) {
  throw std::system_error(error, std::generic_category(), operation);
}

}  // namespace

raw_store::raw_store() : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  if (!socket_) fail("create a socket", errno);
  const std::string_view path = xs_daemon_socket();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) fail("connect to xenstored", ENAMETOOLONG);
  std::copy(path.begin(), path.end(), address.sun_path);
  if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fail("connect to xenstored", errno);
}

void raw_store::send(const void* bytes, std::size_t size) const {
  // A request is far smaller than the socket's buffer.
  const auto sent = ::send(socket_.get(), bytes, size, MSG_NOSIGNAL);
  if (sent < 0) fail("send a request to xenstored", errno);
  if (static_cast<std::size_t>(sent) != size) fail("send a request to xenstored", EMSGSIZE);
}

void raw_store::receive(void* bytes, std::size_t size) const {
  if (size == 0) return;
  const auto got = ::recv(socket_.get(), bytes, size, MSG_WAITALL);
  if (got < 0) fail("receive a reply of xenstored", errno);
  if (static_cast<std::size_t>(got) != size) fail("receive a reply of xenstored", ECONNRESET);
}

std::string raw_store::call(std::uint32_t type, std::string_view payload) const {
  const wire::xs_message_header request{.type = static_cast<wire::xs_type>(type),
                                        .req_id = 1,
                                        .tx_id = 0,
                                        .len = static_cast<std::uint32_t>(payload.size())};
  std::string message(reinterpret_cast<const char*>(&request), sizeof request);
  message.append(payload);
  send(message.data(), message.size());
  for (;;) {
    wire::xs_message_header reply{};
    receive(&reply, sizeof reply);
    if (reply.len > wire::xs_payload_max) fail("receive a reply of xenstored", EPROTO);
    std::string text(reply.len, '\0');
    receive(text.data(), text.size());
    if (reply.type == wire::xs_type::watch_event) continue;
    if (reply.type == wire::xs_type::error && text.ends_with('\0')) text.pop_back();
    return text;
  }
}

}  // namespace xenpv::contract
