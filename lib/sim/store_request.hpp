// Requests in wire format: the message, and functions that parse its payload as the daemon does.
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

/// Returns the payload without its last byte, if that byte is a NUL and the payload contains no
/// other NUL.
[[nodiscard]] std::optional<std::string_view> sole_string(std::string_view payload);

/// Returns all NUL-terminated strings. Ignores bytes after the last NUL.
[[nodiscard]] std::vector<std::string_view> terminated_strings(std::string_view payload);

/// Parses a number as atoi(3) does: returns 0 if there is no number, and wraps a negative number.
[[nodiscard]] std::uint32_t lenient_number(std::string_view text);

/// Splits a byte stream into requests, however the stream is fragmented.
class store_request_reader {
 public:
  void append(std::span<const std::byte> bytes);
  /// Returns the next complete request. A header that announces an oversized payload breaks the
  /// stream.
  [[nodiscard]] std::optional<store_request> next();
  [[nodiscard]] bool is_broken() const noexcept { return broken_; }

 private:
  std::vector<std::byte> bytes_;
  std::size_t consumed_ = 0;
  bool broken_ = false;
};

}  // namespace xenpv::sim
