// Local pages that replace a frontend's pages, for tests, fuzzers and benchmarks that run both ends
// of a ring in one thread. Grant reference `first + i` is page i.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "blkback/foreign_memory.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::blkback {

class page_array final : public foreign_memory {
 public:
  /// `memory`: whole pages, which must outlive this object.
  explicit page_array(std::span<std::byte> memory, std::uint32_t first = 8)
      : memory_(memory), first_(first), read_only_(memory.size() / page_size) {}

  /// A read-only page can only be copied from or mapped read-only.
  void set_read_only(std::uint32_t ref, bool read_only = true) {
    read_only_[ref - first_] = read_only;
  }

  mapping map(std::span<const std::uint32_t> refs, bool writable,
              std::span<std::byte*> pages) noexcept override;
  void unmap(mapping which) noexcept override;
  bool copy_from(std::span<const foreign_piece> pieces) noexcept override;
  bool copy_to(std::span<const foreign_piece> pieces) noexcept override;

  [[nodiscard]] std::byte* page(std::uint32_t ref) const noexcept {
    return memory_.data() + std::size_t{ref - first_} * page_size;
  }
  /// Number of current mappings, number of map() calls so far, and whether the last call requested
  /// writable mappings.
  [[nodiscard]] std::size_t mappings() const noexcept { return mappings_; }
  [[nodiscard]] std::size_t map_calls() const noexcept { return map_calls_; }
  [[nodiscard]] bool mapped_writable() const noexcept { return mapped_writable_; }

 private:
  [[nodiscard]] bool is_granted(std::uint32_t ref, bool writable) const noexcept;

  std::span<std::byte> memory_;
  std::uint32_t first_;
  std::vector<bool> read_only_;
  std::size_t mappings_ = 0;
  std::size_t map_calls_ = 0;
  bool mapped_writable_ = false;
};

}  // namespace xenpv::blkback
