// A write cache in front of a disk, for crash-consistency tests: a power cut loses unflushed
// writes.
//
// The cache keeps every version of a sector written since the last flush. For each sector, a power
// cut randomly writes one of these versions to the disk or keeps the flushed one. Flushed data
// survives. Used by one thread; all rings of the disk share one store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "blkback/store.hpp"

namespace xenpv::blkback {

class volatile_store final : public store {
 public:
  /// `platter`: the disk that is cached. It must outlive this object and complete every request
  /// within submit(). `sector_size`: bytes that are written atomically.
  volatile_store(store& platter, std::uint32_t sector_size)
      : platter_(platter), sector_size_(sector_size) {}

  void submit(store_request& request) noexcept override;
  /// Loses a random selection of writes, determined by `seed`, and empties the cache.
  void power_cut(std::uint64_t seed);

  /// Number of sectors with writes that a power cut may lose.
  [[nodiscard]] std::size_t unflushed() const noexcept { return cache_.size(); }

 private:
  using sector_bytes = std::vector<std::byte>;
  void write(const store_request& request);
  [[nodiscard]] int read(const store_request& request);
  [[nodiscard]] int flush();
  [[nodiscard]] int discard(const store_request& request);
  [[nodiscard]] int on_platter(store_op op, std::uint64_t offset, std::uint64_t length,
                               std::span<const iovec> pieces);

  store& platter_;
  std::uint32_t sector_size_;
  std::map<std::uint64_t, std::vector<sector_bytes>> cache_;  ///< sector: versions, oldest first
};

}  // namespace xenpv::blkback
