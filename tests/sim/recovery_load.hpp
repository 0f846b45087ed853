// Verified I/O on a disk that is being lost and found: each worker has a region of its own, writes
// versions of its blocks, and knows for every read which versions it may find.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "sim/block_device.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::blkfront {

class recovery_load {
 public:
  static constexpr std::uint32_t block_size = 4096;
  static constexpr std::uint32_t blocks = 16;  ///< of a worker's region
  static constexpr std::uint64_t region_size = std::uint64_t{block_size} * blocks;

  /// For region `number` of the disk.
  recovery_load(blk::block_queue& queue, std::uint64_t number, unsigned seed)
      : queue_(queue), number_(number), random_(seed) {}

  /// On the queue's thread, until `stop()`, or until something is wrong. Throws `failure`.
  [[nodiscard]] asio::awaitable<void> run();
  void stop() noexcept { stopped_ = true; }
  /// Reads everything; it must be the last version written.
  [[nodiscard]] asio::awaitable<void> verify();

  [[nodiscard]] const std::vector<std::string>& problems() const noexcept { return problems_; }
  [[nodiscard]] std::uint64_t operations() const noexcept { return operations_; }

 private:
  [[nodiscard]] unsigned pick(unsigned below) { return static_cast<unsigned>(random_() % below); }
  [[nodiscard]] std::uint64_t offset_of(std::uint32_t block) const {
    return number_ * region_size + std::uint64_t{block} * block_size;
  }
  [[nodiscard]] std::uint64_t stamp(std::uint32_t block, std::uint32_t version) const {
    return number_ << 48 | std::uint64_t{block} << 32 | version;
  }
  void fill(std::span<std::byte> bytes, std::uint32_t block, std::uint32_t version) const;
  void check(std::span<const std::byte> bytes, std::uint32_t block, const char* when);
  [[nodiscard]] asio::awaitable<void> write_one();
  [[nodiscard]] asio::awaitable<void> write_leased();
  [[nodiscard]] asio::awaitable<void> write_all();
  [[nodiscard]] asio::awaitable<void> write_twice();
  [[nodiscard]] asio::awaitable<void> write_odd();
  [[nodiscard]] asio::awaitable<void> read_one();

  blk::block_queue& queue_;
  std::uint64_t number_;
  std::mt19937 random_;
  bool stopped_ = false;
  std::array<std::uint32_t, blocks> versions_{};  ///< acknowledged; 0: never written
  std::vector<std::string> problems_;
  std::uint64_t operations_ = 0;
};

}  // namespace xenpv::blkfront
