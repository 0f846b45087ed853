// The sockets of the simulated xenstored: a client in domain 1 sends raw bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "sim/listen.hpp"
#include "simulated_host.hpp"
#include "wire/xs.hpp"

namespace xenpv::sim {
namespace {

std::string read_request(std::uint32_t id) {
  const std::string path("domid", 6);  // including the NUL
  const wire::xs_message_header header{wire::xs_type::read, id, 0,
                                       static_cast<std::uint32_t>(path.size())};
  std::string bytes(sizeof header, '\0');
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes + path;
}

TEST(store_socket, client_that_does_not_read_is_throttled_without_losing_replies) {
  simulated_host host;
  const auto socket = connect_to(host.directory_of(1) / "xenstored", SOCK_STREAM);
  const auto request = read_request(7);
  constexpr std::size_t far_too_many = 1'000'000;
  std::size_t sent_bytes = 0;
  for (std::size_t i = 0; i < far_too_many; ++i) {
    // If the socket is full for two seconds, the host has stopped reading.
    pollfd writable{socket.get(), POLLOUT, 0};
    if (::poll(&writable, 1, 2000) == 0) break;
    const auto sent =
        ::send(socket.get(), request.data(), request.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) continue;
    ASSERT_GT(sent, 0);
    ASSERT_EQ(static_cast<std::size_t>(sent), request.size()) << "partial send on a stream socket";
    sent_bytes += static_cast<std::size_t>(sent);
  }
  const auto requests = sent_bytes / request.size();
  ASSERT_LT(requests, far_too_many)
      << "the host reads all requests and queues all replies in memory";

  const std::size_t answer_size = sizeof(wire::xs_message_header) + 1;  // "1", without the NUL
  std::string answers;
  while (answers.size() < requests * answer_size) {
    char bytes[65536];
    pollfd readable{socket.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&readable, 1, 10'000), 1) << "received only " << answers.size() << " bytes";
    const auto got = ::recv(socket.get(), bytes, sizeof bytes, 0);
    ASSERT_GT(got, 0);
    answers.append(bytes, static_cast<std::size_t>(got));
  }
  EXPECT_EQ(answers.size(), requests * answer_size);
  EXPECT_EQ(answers.back(), '1');
}

TEST(store_socket, oversized_message_closes_the_connection) {
  simulated_host host;
  const auto socket = connect_to(host.directory_of(1) / "xenstored", SOCK_STREAM);
  const wire::xs_message_header header{wire::xs_type::read, 1, 0, 4097};
  ASSERT_EQ(::send(socket.get(), &header, sizeof header, MSG_NOSIGNAL), ssize_t{sizeof header});
  pollfd readable{socket.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&readable, 1, 10'000), 1);
  char byte = 0;
  EXPECT_EQ(::recv(socket.get(), &byte, 1, 0), 0);
}

}  // namespace
}  // namespace xenpv::sim
