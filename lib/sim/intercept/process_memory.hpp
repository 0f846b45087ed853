// Accesses the memory of an intercepted process. Check system_call::is_waiting() before you use the
// data. As with the kernel's own accesses, another thread may change the memory at any time.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

namespace xenpv::sim::intercept {

/// Copy all bytes, or return false with errno set.
/// @{
[[nodiscard]] bool read_memory(pid_t thread, std::uint64_t address, void* bytes,
                               std::size_t size) noexcept;
[[nodiscard]] bool write_memory(pid_t thread, std::uint64_t address, const void* bytes,
                                std::size_t size) noexcept;
/// @}

template <class T>
[[nodiscard]] std::optional<T> read_object(pid_t thread, std::uint64_t address) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  T object{};
  if (!read_memory(thread, address, &object, sizeof object)) return std::nullopt;
  return object;
}

/// Reads a path. Returns nothing, with errno set, if it is not readable or too long.
[[nodiscard]] std::optional<std::string> read_path(pid_t thread, std::uint64_t address);

}  // namespace xenpv::sim::intercept
