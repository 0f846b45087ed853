// Little-endian integers in structures on disk. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace xenpv::blk {

/// Returns the integer at `offset`, which must lie within `bytes`.
template <class Integer>
[[nodiscard]] constexpr Integer load_little_endian(std::span<const std::byte> bytes,
                                                   std::size_t offset) noexcept {
  Integer value = 0;
  for (std::size_t i = sizeof(Integer); i > 0; --i) {
    const auto shifted = static_cast<std::uint64_t>(value) << 8U;
    value = static_cast<Integer>(shifted | std::to_integer<std::uint8_t>(bytes[offset + i - 1]));
  }
  return value;
}

/// True if `bytes` contains `text` at `offset`. False if the text would extend beyond `bytes`.
[[nodiscard]] constexpr bool has_text(std::span<const std::byte> bytes, std::size_t offset,
                                      std::string_view text) noexcept {
  if (offset > bytes.size() || text.size() > bytes.size() - offset) return false;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (std::to_integer<char>(bytes[offset + i]) != text[i]) return false;
  return true;
}

}  // namespace xenpv::blk
