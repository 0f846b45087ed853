// A test client of the simulated store. Exchanges wire messages with a store_service in memory, and
// checks that every reply is well-formed and echoes the request ID and the transaction ID.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/store_service.hpp"
#include "wire/xs.hpp"

namespace xenpv::sim::test {

using namespace std::string_literals;
using wire::xs_type;

struct store_message {
  wire::xs_message_header header;
  std::string payload;
};

inline std::vector<std::byte> encode(xs_type type, std::string_view payload, std::uint32_t req_id,
                                     std::uint32_t tx_id) {
  const wire::xs_message_header header{.type = type,
                                       .req_id = req_id,
                                       .tx_id = tx_id,
                                       .len = static_cast<std::uint32_t>(payload.size())};
  std::vector<std::byte> bytes(sizeof header + payload.size());
  std::memcpy(bytes.data(), &header, sizeof header);
  if (!payload.empty()) std::memcpy(bytes.data() + sizeof header, payload.data(), payload.size());
  return bytes;
}

inline std::vector<store_message> decode(std::span<const std::byte> bytes) {
  std::vector<store_message> messages;
  while (!bytes.empty()) {
    store_message message{};
    if (bytes.size() < sizeof message.header) {
      ADD_FAILURE() << "truncated header at the end of the output";
      break;
    }
    std::memcpy(&message.header, bytes.data(), sizeof message.header);
    bytes = bytes.subspan(sizeof message.header);
    if (bytes.size() < message.header.len) {
      ADD_FAILURE() << "truncated payload at the end of the output";
      break;
    }
    message.payload.assign(reinterpret_cast<const char*>(bytes.data()), message.header.len);
    bytes = bytes.subspan(message.header.len);
    messages.push_back(std::move(message));
  }
  return messages;
}

/// Formats an event as "path>token", because NULs are hard to read in failure messages.
inline std::string readable_event(const std::string& payload) {
  const auto middle = payload.find('\0');
  EXPECT_NE(middle, std::string::npos);
  EXPECT_TRUE(payload.ends_with('\0'));
  return payload.substr(0, middle) + ">" + payload.substr(middle + 1, payload.size() - middle - 2);
}

/// Formats a payload for test names, with '|' for NUL as in xenstore.txt.
inline std::string readable_payload(std::string payload) {
  for (auto& letter : payload)
    if (letter == '\0') letter = '|';
  return payload.empty() ? "nothing" : payload;
}

class store_client {
 public:
  store_client(store_service& service, domid domain)
      : service_(service), id_(service.attach(domain)) {}
  store_client(store_service& service, std::uint16_t domain)
      : store_client(service, domid{domain}) {}
  ~store_client() { service_.detach(id_); }
  store_client(const store_client&) = delete;
  store_client& operator=(const store_client&) = delete;

  /// Returns the payload of the reply, or the error name (such as "ENOENT") without the NUL.
  std::string call(xs_type type, std::string_view payload = {}, std::uint32_t tx = 0) {
    ++req_id_;
    EXPECT_TRUE(service_.receive(id_, encode(type, payload, req_id_, tx)));
    const auto reply = collect();
    if (reply.size() != 1) {
      ADD_FAILURE() << reply.size() << " replies to one request of type " << wire::to_string(type);
      return {};
    }
    const auto& [header, text] = reply.front();
    EXPECT_EQ(header.req_id, req_id_);
    EXPECT_EQ(header.tx_id, tx);
    if (header.type != xs_type::error) {
      EXPECT_EQ(header.type, type);
      return text;
    }
    EXPECT_TRUE(text.ends_with('\0'));
    return text.substr(0, text.size() - 1);
  }

  std::string read(const std::string& path, std::uint32_t tx = 0) {
    return call(xs_type::read, path + '\0', tx);
  }
  std::string write(const std::string& path, const std::string& value, std::uint32_t tx = 0) {
    return plain(call(xs_type::write, path + '\0' + value, tx));
  }
  std::string mkdir(const std::string& path, std::uint32_t tx = 0) {
    return plain(call(xs_type::mkdir, path + '\0', tx));
  }
  std::string rm(const std::string& path, std::uint32_t tx = 0) {
    return plain(call(xs_type::rm, path + '\0', tx));
  }
  /// Returns the names separated by spaces, or the error name.
  std::string directory(const std::string& path, std::uint32_t tx = 0) {
    return spaced(call(xs_type::directory, path + '\0', tx));
  }
  std::string permissions(const std::string& path, std::uint32_t tx = 0) {
    return spaced(call(xs_type::get_perms, path + '\0', tx));
  }
  /// `text`: permissions separated by spaces, such as "n1 r2".
  std::string set_permissions(const std::string& path, std::string text, std::uint32_t tx = 0) {
    for (auto& letter : text)
      if (letter == ' ') letter = '\0';
    return plain(call(xs_type::set_perms, path + '\0' + text + '\0', tx));
  }
  std::string watch(const std::string& path, const std::string& token) {
    return plain(call(xs_type::watch, path + '\0' + token + '\0'));
  }
  std::string unwatch(const std::string& path, const std::string& token) {
    return plain(call(xs_type::unwatch, path + '\0' + token + '\0'));
  }
  std::uint32_t start() {
    const auto reply = call(xs_type::transaction_start, "\0"s);
    EXPECT_TRUE(reply.ends_with('\0')) << reply;
    return static_cast<std::uint32_t>(std::stoul(reply));
  }
  std::string commit(std::uint32_t tx) { return plain(call(xs_type::transaction_end, "T\0"s, tx)); }
  std::string abort(std::uint32_t tx) { return plain(call(xs_type::transaction_end, "F\0"s, tx)); }

  /// Returns the events since the last call, oldest first, as "path>token".
  std::vector<std::string> events() {
    EXPECT_TRUE(collect().empty()) << "a reply without a request";
    return std::exchange(events_, {});
  }

  [[nodiscard]] store_service::connection_id id() const { return id_; }

 private:
  /// Returns "OK" for a plain acknowledgement, and other replies unchanged.
  static std::string plain(std::string reply) { return reply == "OK\0"s ? "OK" : reply; }

  static std::string spaced(std::string reply) {
    if (!reply.ends_with('\0')) return reply;
    reply.pop_back();
    for (auto& letter : reply)
      if (letter == '\0') letter = ' ';
    return reply;
  }

  std::vector<store_message> collect() {
    std::vector<store_message> replies;
    for (auto& message : decode(service_.take_output(id_))) {
      if (message.header.type == xs_type::watch_event) {
        EXPECT_EQ(message.header.req_id, 0U);
        EXPECT_EQ(message.header.tx_id, 0U);
        events_.push_back(readable_event(message.payload));
      } else {
        replies.push_back(std::move(message));
      }
    }
    return replies;
  }

  store_service& service_;
  store_service::connection_id id_;
  std::uint32_t req_id_ = 100;
  std::vector<std::string> events_;
};

/// A store with domains 1, 2 and 3, each with its own directory, and one client in each of the
/// domains 0 to 3.
class store_fixture : public ::testing::Test {
 protected:
  using lines = std::vector<std::string>;

  explicit store_fixture(store_quota quota = {}, store_control_options controls = {})
      : service(quota, controls) {
    for (std::uint16_t number = 1; number <= 3; ++number) {
      const auto directory = "/local/domain/" + std::to_string(number);
      service.introduce(domid{number});
      service.write(directory, "");
      service.set_permissions(directory, std::vector{store_permission{domid{number}}});
    }
  }

  store_service service;
  store_client zero{service, 0};
  store_client one{service, 1};
  store_client two{service, 2};
  store_client three{service, 3};
};

}  // namespace xenpv::sim::test
