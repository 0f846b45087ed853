// Which of a frontend's grants a ring keeps mapped (persistent grants), by reference: a flat hash
// table, because it is looked into for every segment of every request.
//
// Owned by an engine. Maps nothing itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace xenpv::blkback {

class grant_cache {
 public:
  /// blkback's max_persistent_grants: one ring's 32 requests of 32 segments and their indirect
  /// page.
  static constexpr std::size_t capacity = 1056;

  struct entry {
    std::byte* page = nullptr;  ///< null: the place is free
    std::uint32_t ref = 0;
    std::uint32_t users = 0;  ///< requests in flight that use the page
  };

  grant_cache() : places_(places) {}

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// nullptr: not mapped here.
  [[nodiscard]] entry* find(std::uint32_t ref) noexcept {
    auto& place = locate(ref);
    return place.page == nullptr ? nullptr : &place;
  }
  /// `ref` is not in it, and there is room. The entry stays where it is as long as this lives.
  entry& insert(std::uint32_t ref, std::byte* page) noexcept {
    auto& place = locate(ref);
    place = {page, ref, 0};
    ++size_;
    return place;
  }

 private:
  static constexpr std::size_t places = 4096;  // a quarter full at most, so searches are short
  static_assert(places >= 2 * capacity && (places & (places - 1)) == 0);

  [[nodiscard]] entry& locate(std::uint32_t ref) noexcept {
    // Fibonacci hashing: references are small numbers next to each other.
    auto at = static_cast<std::size_t>((ref * 2654435769U) >> 20);
    while (places_[at].page != nullptr && places_[at].ref != ref)
      at = (at + 1) & (places - 1);
    return places_[at];
  }

  std::vector<entry> places_;
  std::size_t size_ = 0;
};

}  // namespace xenpv::blkback
