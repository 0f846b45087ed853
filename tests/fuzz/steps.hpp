// Code shared by fuzz targets whose input is a list of steps.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>

namespace xenpv::fuzz {

/// Crashes if `promise` is false, so that the fuzzer reports it.
inline void expect(bool promise, unsigned line = __builtin_LINE()) {
  if (promise) return;
  std::fprintf(stderr, "line %u: expectation violated\n", line);
  std::abort();
}

/// Reads the input byte by byte. Returns zeros after the end.
class input {
 public:
  explicit input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  [[nodiscard]] bool is_empty() const { return bytes_.empty(); }
  std::uint8_t byte() {
    if (bytes_.empty()) return 0;
    const auto value = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return value;
  }
  std::uint32_t word() {
    const std::uint32_t low = byte();
    const std::uint32_t high = byte();
    return low | high << 8U;
  }
  std::string_view text(std::size_t size) {
    const auto part = bytes_.first(std::min(size, bytes_.size()));
    bytes_ = bytes_.subspan(part.size());
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

}  // namespace xenpv::fuzz
