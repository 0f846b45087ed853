// Mappings of this process that emulate gntalloc and gntdev mappings. A table maps the address of
// each mapping to the mapping's host ID and size. One table per process and device; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <span>

namespace xenpv::sim::guest {

/// The location of one page to map.
struct page_source {
  int file = -1;
  std::uint32_t page = 0;
};

/// Maps the pages at contiguous addresses. Returns nullptr and sets errno on failure.
[[nodiscard]] void* map_pages(std::span<const page_source> pages, int protection) noexcept;

class mapping_table {
 public:
  struct mapping {
    std::uint32_t id = 0;
    std::size_t pages = 0;
  };
  void insert(void* address, mapping entry);
  /// Removes and returns the mapping at `address` if it has `pages` pages.
  [[nodiscard]] std::optional<mapping> take(void* address, std::size_t pages);

 private:
  std::mutex mutex_;
  std::map<void*, mapping> entries_;
};

}  // namespace xenpv::sim::guest
