// The persistent grants of a ring, keyed by grant reference. They stay mapped between requests. A
// flat hash table, because every segment of every request requires a lookup.
//
// Owned by an engine. Does not map or unmap pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace xenpv::blkback {

class grant_cache {
 public:
  /// blkback's max_persistent_grants: 32 requests per ring, each with 32 segments and one indirect
  /// page.
  static constexpr std::size_t capacity = 1056;

  struct entry {
    std::byte* page = nullptr;  ///< null: the slot is free
    std::uint32_t ref = 0;
    std::uint32_t users = 0;  ///< requests in flight that use the page
  };

  grant_cache() : slots_(slot_count) {}

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// Returns nullptr if `ref` is not in the cache.
  [[nodiscard]] entry* find(std::uint32_t ref) noexcept {
    auto& slot = locate(ref);
    return slot.page == nullptr ? nullptr : &slot;
  }
  /// `ref` must be absent, and the cache must not be full. Entries have stable addresses.
  entry& insert(std::uint32_t ref, std::byte* page) noexcept {
    auto& slot = locate(ref);
    slot = {page, ref, 0};
    ++size_;
    return slot;
  }

 private:
  static constexpr std::size_t slot_count = 4096;  // about a quarter full at most: short searches
  static_assert(slot_count >= 2 * capacity && (slot_count & (slot_count - 1)) == 0);

  [[nodiscard]] entry& locate(std::uint32_t ref) noexcept {
    // Fibonacci hashing: references are small and often consecutive.
    auto at = static_cast<std::size_t>((ref * 2654435769U) >> 20);
    while (slots_[at].page != nullptr && slots_[at].ref != ref)
      at = (at + 1) & (slot_count - 1);
    return slots_[at];
  }

  std::vector<entry> slots_;
  std::size_t size_ = 0;
};

}  // namespace xenpv::blkback
