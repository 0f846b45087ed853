// A disk in memory, for as long as this process lives, and a disk that is nothing at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "blkback/store.hpp"

namespace xenpv::blkback {

/// The bytes of a memory disk: zeros, and no memory used, until written. Shared by the stores of a
/// disk's rings, whose threads access it as they please: a frontend that has two requests in flight
/// for one sector gets what it asked for.
class memory_medium {
 public:
  /// Throws `failure` when there is not that much address space, or (where the kernel does not
  /// overcommit) memory.
  explicit memory_medium(std::uint64_t size);
  ~memory_medium();
  memory_medium(const memory_medium&) = delete;
  memory_medium& operator=(const memory_medium&) = delete;

  [[nodiscard]] std::byte* data() const noexcept { return base_; }
  /// Bytes; for the thread that resizes.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// Grows or shrinks in place; what is cut off is forgotten. Throws `failure` beyond the reserved
  /// address space: twice the first size, at least 16 GiB. One thread, while the others use no byte
  /// that is cut off.
  void resize(std::uint64_t size);
  /// Makes whole pages zeros and gives their memory back; the rest is zeroed.
  void forget(std::uint64_t offset, std::uint64_t length) noexcept;

 private:
  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
  std::size_t reserved_ = 0;
};

class memory_store final : public store {
 public:
  explicit memory_store(std::shared_ptr<memory_medium> medium) : medium_(std::move(medium)) {}
  /// Done when it returns.
  void submit(store_request& request) noexcept override;

 private:
  void move_bytes(const store_request& request) noexcept;
  std::shared_ptr<memory_medium> medium_;
};

/// Reads as zeros; what is written is gone. For measuring everything but the disk.
class null_store final : public store {
 public:
  void submit(store_request& request) noexcept override;
};

}  // namespace xenpv::blkback
