// Storage for the one asynchronous read that an event loop always has in flight, so that event
// delivery does not depend on other users of Asio's small per-thread cache. Owned by the loop.
#pragma once

#include <cstddef>
#include <new>

namespace xenpv::async {

class handler_memory {
 public:
  handler_memory() = default;
  handler_memory(const handler_memory&) = delete;
  handler_memory& operator=(const handler_memory&) = delete;

  /// Returns the block, or heap memory while the block is in use by an aborted read that has not
  /// completed yet.
  [[nodiscard]] void* allocate(std::size_t size) {
    if (in_use_ || size > sizeof(block_)) return ::operator new(size);
    in_use_ = true;
    return block_;
  }
  void deallocate(void* memory) noexcept {
    if (memory == block_)
      in_use_ = false;
    else
      ::operator delete(memory);
  }

 private:
  alignas(std::max_align_t) std::byte block_[256];
  bool in_use_ = false;
};

/// Allocates from a handler_memory; used as a handler's associated allocator.
template <class T>
class handler_allocator {
 public:
  using value_type = T;

  explicit handler_allocator(handler_memory& memory) noexcept : memory_(&memory) {}
  template <class U>
  handler_allocator(const handler_allocator<U>& other) noexcept : memory_(other.memory_) {}

  [[nodiscard]] T* allocate(std::size_t n) const {
    return static_cast<T*>(memory_->allocate(sizeof(T) * n));
  }
  void deallocate(T* memory, std::size_t) const noexcept { memory_->deallocate(memory); }

  template <class U>
  friend bool operator==(const handler_allocator& a, const handler_allocator<U>& b) noexcept {
    return a.memory_ == b.memory_;
  }

 private:
  template <class>
  friend class handler_allocator;
  handler_memory* memory_;
};

}  // namespace xenpv::async
