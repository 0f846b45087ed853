// A client for option haggling. Encodes its own messages, and formats each step of the server as a
// line, such as "NBD_OPT_GO: NBD_REP_ACK" or "NBD_OPT_LIST: NBD_REP_SERVER 0000...".
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bytes.hpp"
#include "nbd/negotiation.hpp"

namespace xenpv::nbd::test {

inline std::string flags(std::uint32_t value = 3) {
  return be32(value);
}
inline std::string option(std::uint32_t number, std::string_view data = {}) {
  return "IHAVEOPT" + be32(number) + be32(data.size()) + std::string(data);
}
inline std::string option(wire::nbd_option number, std::string_view data = {}) {
  return option(static_cast<std::uint32_t>(number), data);
}
/// Returns the data of an NBD_OPT_INFO or NBD_OPT_GO option.
inline std::string info(std::string_view name, const std::vector<unsigned>& types = {}) {
  auto out = be32(name.size()) + std::string(name) + be16(types.size());
  for (const auto type : types)
    out += be16(type);
  return out;
}

inline std::uint64_t number_at(std::string_view bytes, std::size_t position, unsigned size) {
  std::uint64_t value = 0;
  for (unsigned i = 0; i < size; ++i)
    value = value << 8U | static_cast<unsigned char>(bytes.at(position + i));
  return value;
}

/// Formats one reply. Shows the data of an error as text and all other data as hexadecimal digits.
inline std::string shown_reply(std::string_view bytes) {
  if (bytes.size() < 20 || hex(bytes.substr(0, 8)) != "0003e889045565a9") return hex(bytes);
  EXPECT_EQ(number_at(bytes, 16, 4), bytes.size() - 20) << "header and data were not sent together";
  const auto number = static_cast<wire::nbd_option>(number_at(bytes, 8, 4));
  const auto type = static_cast<wire::nbd_reply>(number_at(bytes, 12, 4));
  const auto data = bytes.substr(20);
  const bool is_error = (static_cast<std::uint32_t>(type) & 0x80000000U) != 0;
  auto out = std::string(to_string(number)) + ": " + std::string(to_string(type));
  if (!data.empty()) out += ' ' + (is_error ? std::string(data) : hex(data));
  return out;
}

class client {
 public:
  explicit client(negotiation_options options) : machine_(std::move(options)) {}

  /// Sends `bytes`. Returns the server's steps until the server needs more bytes.
  std::vector<std::string> send(std::string_view bytes, std::size_t at_once = ~std::size_t{0}) {
    std::vector<std::string> out = run();
    while (!bytes.empty() && is_reading_) {
      const auto part = bytes.substr(0, at_once);
      bytes.remove_prefix(part.size());
      machine_.feed(as_bytes(part));
      for (auto& line : run())
        out.push_back(std::move(line));
    }
    return out;
  }
  /// Sends the client flags. Options follow.
  client& start(std::uint32_t client_flags = 3) {
    (void)send(flags(client_flags));
    return *this;
  }
  [[nodiscard]] negotiation& machine() { return machine_; }
  /// Leaves the decision about the client's choice of an export to the test.
  client& wait_for_admission() {
    admits_ = false;
    return *this;
  }
  /// Returns the server's steps until the server needs more bytes.
  std::vector<std::string> run() {
    std::vector<std::string> out;
    for (;;) {
      const auto step = machine_.next();
      is_reading_ = step.what == negotiation_step::action::read_more;
      switch (step.what) {
        case negotiation_step::action::send:
          out.push_back(shown_reply(step.bytes));
          continue;
        case negotiation_step::action::read_more:
          break;
        case negotiation_step::action::start_tls:
          out.emplace_back("(TLS)");
          break;
        case negotiation_step::action::admit:
          if (!admits_) break;
          machine_.admit();
          continue;
        case negotiation_step::action::transmit:
          out.push_back("(transmission " + machine_.agreed_export().name + ')');
          break;
        case negotiation_step::action::close:
          out.push_back((step.is_violation ? "(dropped: " : "(closed: ") + step.reason + ')');
          break;
      }
      return out;
    }
  }

 private:
  negotiation machine_;
  bool is_reading_ = true;
  bool admits_ = true;
};

inline const std::string client_left = "(closed: the client aborted the negotiation)";

/// Returns the line that client::send() returns for a refused option.
inline std::string refusal(wire::nbd_option number, std::string_view type, std::string_view text) {
  std::string out(to_string(number));
  return out.append(": NBD_REP_ERR_").append(type).append(" ").append(text);
}

}  // namespace xenpv::nbd::test
