// Requests as they come over the wire: the message, and how the daemon reads its payload.
// Pure; nothing here knows what a request means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/wire/xs.hpp"

namespace xenpv::sim {

struct store_request {
  wire::xs_message_header header;
  std::string payload;
};

/// The payload without its NUL, if that NUL is the only one and the last byte.
[[nodiscard]] std::optional<std::string_view> sole_string(std::string_view payload);

/// All strings that end in a NUL; bytes behind the last NUL are ignored.
[[nodiscard]] std::vector<std::string_view> terminated_strings(std::string_view payload);

/// A number as atoi(3) reads it: 0 when there is none, wrapped when negative.
[[nodiscard]] std::uint32_t lenient_number(std::string_view text);

/// Cuts a byte stream into requests, however it is chopped up.
class store_request_reader {
 public:
  void append(std::span<const std::byte> bytes);
  /// The next complete request. A header that announces too long a payload makes the stream broken.
  [[nodiscard]] std::optional<store_request> next();
  [[nodiscard]] bool is_broken() const noexcept { return broken_; }

 private:
  std::vector<std::byte> bytes_;
  std::size_t taken_ = 0;
  bool broken_ = false;
};

}  // namespace xenpv::sim
