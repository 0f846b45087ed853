// The process's limit of open file descriptors. Servers raise it at start and keep a reserve below
// it, so that clients cannot use up the descriptors that the program itself needs. Stateless.
#pragma once

#include <sys/resource.h>

#include <cstddef>

namespace xenpv {

/// Raises the soft limit to the hard limit, but to at most 65536: some programs have hard limits of
/// a billion, and code exists that loops over all possible descriptors. Call it at start. Returns
/// the previous limit; restore it for child programs, because a program that uses select(2) cannot
/// use descriptors above 1023. Logs failures at debug level.
rlimit raise_descriptor_limit() noexcept;

/// The soft limit: descriptors are smaller than this number.
[[nodiscard]] std::size_t descriptor_limit() noexcept;

/// True if the number of a new descriptor is in the reserve: the kernel assigns the lowest free
/// number, so no others are left. `limit`: see descriptor_limit(). The reserve is 64 descriptors,
/// or a quarter of a limit below 256.
[[nodiscard]] constexpr bool is_in_reserve(int descriptor, std::size_t limit) noexcept {
  const std::size_t reserve = limit / 4 < 64 ? limit / 4 : 64;
  return static_cast<std::size_t>(descriptor) >= limit - reserve;
}

}  // namespace xenpv
