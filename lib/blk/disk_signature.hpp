// Recognises the contents of a disk without a partition table, for error messages: the common file
// systems and containers. Checks only their signatures. Pure.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace xenpv::blk {

/// Bytes from the start of the disk that contain all signatures.
inline constexpr std::size_t signature_area = std::size_t{68} << 10U;

/// Returns a noun phrase such as "an ext4 file system", or an empty text if the contents are not
/// recognised. `start` is the start of the disk, up to signature_area bytes.
[[nodiscard]] std::string_view recognise_contents(std::span<const std::byte> start) noexcept;

}  // namespace xenpv::blk
