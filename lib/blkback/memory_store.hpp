// A disk in the memory of this process, and a null disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "blkback/store.hpp"

namespace xenpv::blkback {

/// The bytes of a memory disk. They are initially zero and do not occupy memory until they are
/// written. Shared by the stores of a disk's rings, whose threads access the bytes without locks:
/// concurrent requests for the same sector race, as on any disk.
class memory_medium {
 public:
  /// Throws `failure` if there is not enough address space or, without overcommit, memory.
  explicit memory_medium(std::uint64_t size);
  ~memory_medium();
  memory_medium(const memory_medium&) = delete;
  memory_medium& operator=(const memory_medium&) = delete;

  [[nodiscard]] std::byte* data() const noexcept { return base_; }
  /// The size in bytes. Only the thread that calls resize() may call this.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// Grows or shrinks in place; removed bytes are lost. Throws `failure` if the size exceeds the
  /// reserved address space, which is twice the initial size and at least 16 GiB. Must be called by
  /// a single thread while no other thread accesses the removed bytes.
  void resize(std::uint64_t size);
  /// Zeroes the range, and frees the memory of all pages that lie completely within it.
  void forget(std::uint64_t offset, std::uint64_t length) noexcept;

 private:
  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
  std::size_t reserved_ = 0;
};

class memory_store final : public store {
 public:
  explicit memory_store(std::shared_ptr<memory_medium> medium) : medium_(std::move(medium)) {}
  /// Completes the request before it returns.
  void submit(store_request& request) noexcept override;

 private:
  void move_bytes(const store_request& request) noexcept;
  std::shared_ptr<memory_medium> medium_;
};

/// Reads return zeros, and writes are discarded. For benchmarks that exclude the disk.
class null_store final : public store {
 public:
  void submit(store_request& request) noexcept override;
};

}  // namespace xenpv::blkback
