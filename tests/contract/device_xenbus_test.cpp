// /dev/xen/xenbus without libxenstore: requests and replies of the xenstore protocol as bytes. In
// domain 0, libxenstore would use xenstored's socket instead.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

#include "contract/device.hpp"
#include "wire/xs.hpp"

namespace xenpv::contract {
namespace {

class raw_xenbus : public device {
 public:
  raw_xenbus() : device("/dev/xen/xenbus") {}

  void send(std::string_view bytes) const {
    ASSERT_EQ(::write(descriptor(), bytes.data(), bytes.size()),
              static_cast<ssize_t>(bytes.size()));
  }
  /// Reads exactly `size` bytes. Throws std::runtime_error if they do not arrive in time.
  [[nodiscard]] std::string receive(std::size_t size) const {
    std::string bytes(size, '\0');
    for (std::size_t done = 0; done < size;) {
      if (!readable_within(descriptor(), time_limit)) throw std::runtime_error("no reply");
      const auto got = ::read(descriptor(), bytes.data() + done, size - done);
      if (got <= 0) throw std::system_error(errno, std::generic_category(), "read");
      done += static_cast<std::size_t>(got);
    }
    return bytes;
  }
  [[nodiscard]] wire::xs_message_header receive_header() const {
    wire::xs_message_header header{};
    const auto bytes = receive(sizeof header);
    std::memcpy(&header, bytes.data(), sizeof header);
    return header;
  }
};

[[nodiscard]] std::string header_of(std::uint32_t id, std::string_view payload) {
  const wire::xs_message_header header{.type = wire::xs_type::read,
                                       .req_id = id,
                                       .tx_id = 0,
                                       .len = static_cast<std::uint32_t>(payload.size())};
  std::string bytes(sizeof header, '\0');
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

TEST(device_xenbus, replies_to_a_read) {
  const raw_xenbus store;
  constexpr std::string_view path{"domid\0", 6};
  store.send(header_of(7, path) + std::string(path));
  const auto reply = store.receive_header();
  EXPECT_EQ(reply.type, wire::xs_type::read);
  EXPECT_EQ(reply.req_id, 7U);
  EXPECT_EQ(store.receive(reply.len), std::to_string(own_domid()));
}

TEST(device_xenbus, accepts_a_request_in_parts) {
  const raw_xenbus store;
  constexpr std::string_view path{"domid\0", 6};
  store.send(header_of(8, path));
  store.send(path.substr(0, 2));
  store.send(path.substr(2));
  const auto reply = store.receive_header();
  EXPECT_EQ(reply.req_id, 8U);
  EXPECT_EQ(store.receive(reply.len), std::to_string(own_domid()));
}

TEST(device_xenbus, returns_the_name_of_an_error) {
  const raw_xenbus store;
  constexpr std::string_view path{"no-such-node\0", 13};
  store.send(header_of(9, path) + std::string(path));
  const auto reply = store.receive_header();
  EXPECT_EQ(reply.type, wire::xs_type::error);
  EXPECT_EQ(reply.req_id, 9U);
  EXPECT_EQ(store.receive(reply.len), std::string("ENOENT\0", 7));
}

TEST(device_xenbus, fails_to_read_with_eagain_if_nonblocking_and_no_reply_is_due) {
  const device store("/dev/xen/xenbus", O_RDWR | O_NONBLOCK);
  char byte = 0;
  EXPECT_EQ(attempt([&] { return ::read(store.descriptor(), &byte, 1); }), failed(EAGAIN));
}

}  // namespace
}  // namespace xenpv::contract
