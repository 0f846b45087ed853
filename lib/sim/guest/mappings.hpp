// The memory mappings of this process that stand for gntalloc's and gntdev's: address -> host id
// and size. One table a process and kind; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <span>

namespace xenpv::sim::guest {

/// One page of the mapping to build: where its bytes are.
struct page_source {
  int file = -1;
  std::uint32_t page = 0;
};

/// Maps the pages one after the other in address space; nullptr with errno.
[[nodiscard]] void* map_pages(std::span<const page_source> pages, int protection) noexcept;

class mapping_table {
 public:
  struct mapping {
    std::uint32_t id = 0;
    std::size_t pages = 0;
  };
  void insert(void* address, mapping entry);
  /// Takes the mapping out if it starts at `address` and has `pages` pages.
  [[nodiscard]] std::optional<mapping> take(void* address, std::size_t pages);

 private:
  std::mutex mutex_;
  std::map<void*, mapping> entries_;
};

}  // namespace xenpv::sim::guest
