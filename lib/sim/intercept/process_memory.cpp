#include "sim/intercept/process_memory.hpp"

#include <linux/limits.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "xenpv/base/types.hpp"

namespace xenpv::sim::intercept {
namespace {

iovec remote(std::uint64_t address, std::size_t size) {
  return {std::bit_cast<void*>(static_cast<std::uintptr_t>(address)), size};
}

bool is_complete(ssize_t copied, std::size_t size) {
  if (copied >= 0 && static_cast<std::size_t>(copied) != size) errno = EFAULT;
  return copied >= 0 && static_cast<std::size_t>(copied) == size;
}

}  // namespace

bool read_memory(pid_t thread, std::uint64_t address, void* bytes, std::size_t size) noexcept {
  const iovec local{bytes, size};
  const auto other = remote(address, size);
  return is_complete(::process_vm_readv(thread, &local, 1, &other, 1, 0), size);
}

bool write_memory(pid_t thread, std::uint64_t address, const void* bytes,
                  std::size_t size) noexcept {
  const iovec local{const_cast<void*>(bytes), size};
  const auto other = remote(address, size);
  return is_complete(::process_vm_writev(thread, &local, 1, &other, 1, 0), size);
}

std::optional<std::string> read_path(pid_t thread, std::uint64_t address) {
  std::string path;
  std::array<char, 256> chunk{};
  while (path.size() < PATH_MAX) {
    // The next page may not be mapped.
    const auto start = address + path.size();
    const auto size = std::min<std::size_t>(chunk.size(), page_size - start % page_size);
    if (!read_memory(thread, start, chunk.data(), size)) return std::nullopt;
    const auto length = ::strnlen(chunk.data(), size);
    path.append(chunk.data(), length);
    if (length < size) return path;
  }
  errno = ENAMETOOLONG;
  return std::nullopt;
}

}  // namespace xenpv::sim::intercept
