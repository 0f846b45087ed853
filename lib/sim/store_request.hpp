// Requests on the wire: the message, and the daemon's parsing of its payload.
// Pure; does not interpret requests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire/xs.hpp"

namespace xenpv::sim {

struct store_request {
  wire::xs_message_header header;
  std::string payload;
};

/// The payload without its NUL, if that NUL is the only one and the last byte.
[[nodiscard]] std::optional<std::string_view> sole_string(std::string_view payload);

/// All NUL-terminated strings; bytes after the last NUL are ignored.
[[nodiscard]] std::vector<std::string_view> terminated_strings(std::string_view payload);

/// A number as parsed by atoi(3): 0 when there is none, wrapped when negative.
[[nodiscard]] std::uint32_t lenient_number(std::string_view text);

/// Splits a byte stream into requests, for any fragmentation of the stream.
class store_request_reader {
 public:
  void append(std::span<const std::byte> bytes);
  /// The next complete request. A header with too large a payload length breaks the stream.
  [[nodiscard]] std::optional<store_request> next();
  [[nodiscard]] bool is_broken() const noexcept { return broken_; }

 private:
  std::vector<std::byte> bytes_;
  std::size_t consumed_ = 0;
  bool broken_ = false;
};

}  // namespace xenpv::sim
