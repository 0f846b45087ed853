// Memory for the data of one device request, used when no pages can be leased from the device.
// Owned by the request or by the dispatcher's list of spare buffers. Does not count against a
// memory_budget; the dispatcher counts it.
#pragma once

#include <cstddef>
#include <utility>

namespace xenpv::nbd {

/// Owns uninitialised memory. Large buffers are mapped, not allocated: their memory returns to the
/// system immediately. The heap would keep it, once per thread, beyond the server's limit.
class data_buffer {
 public:
  /// Returns an empty buffer if there is not enough memory.
  [[nodiscard]] static data_buffer allocate(std::size_t size) noexcept;
  /// For a server whose client is the swap device, which must not need new memory when memory is
  /// short: takes later buffers of all sizes from the heap, which mallopt() can make keep freed
  /// memory. For the whole process; call before other threads exist.
  static void keep_freed_memory() noexcept;

  data_buffer() noexcept = default;
  data_buffer(data_buffer&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        is_mapped_(other.is_mapped_) {}
  data_buffer& operator=(data_buffer&& other) noexcept {
    if (this != &other) {
      reset();
      memory_ = std::exchange(other.memory_, nullptr);
      size_ = std::exchange(other.size_, 0);
      is_mapped_ = other.is_mapped_;
    }
    return *this;
  }
  ~data_buffer() { reset(); }

  void reset() noexcept;

  [[nodiscard]] std::byte* get() const noexcept { return memory_; }
  /// In bytes.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return memory_ == nullptr; }

 private:
  data_buffer(std::byte* memory, std::size_t size, bool is_mapped) noexcept
      : memory_(memory), size_(size), is_mapped_(is_mapped) {}

  std::byte* memory_ = nullptr;
  std::size_t size_ = 0;
  bool is_mapped_ = false;
};

}  // namespace xenpv::nbd
