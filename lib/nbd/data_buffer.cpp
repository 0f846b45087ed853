#include "nbd/data_buffer.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace xenpv::nbd {

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// The sanitizers check heap memory more closely than mapped memory.
std::size_t smallest_mapped = SIZE_MAX;
#else
/// A smaller buffer costs less than the two system calls that map and unmap it.
std::size_t smallest_mapped = std::size_t{32} << 10;
#endif

}  // namespace

void data_buffer::keep_freed_memory() noexcept {
  smallest_mapped = SIZE_MAX;
}

data_buffer data_buffer::allocate(std::size_t size) noexcept {
  if (size < smallest_mapped) {
    auto* const memory = new (std::nothrow) std::byte[size];
    return {memory, memory == nullptr ? 0 : size, false};
  }
  // Usually the whole buffer is written at once, and one call is cheaper than a fault for each
  // page. The memory of a WRITE whose payload has not arrived is also resident; the budget counts
  // it.
  void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) return {};
  return {static_cast<std::byte*>(memory), size, true};
}

void data_buffer::reset() noexcept {
  if (!is_mapped_)
    delete[] memory_;
  else if (memory_ != nullptr && ::munmap(memory_, size_) != 0)
    // The process has too many mappings to split one. Only the address space stays in use.
    ::madvise(memory_, size_, MADV_DONTNEED);
  memory_ = nullptr;
  size_ = 0;
}

}  // namespace xenpv::nbd
