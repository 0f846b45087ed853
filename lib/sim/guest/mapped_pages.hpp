// The pages that this process has mapped through gntdev and gntalloc, by address. Like a kernel
// mapping, a page keeps its owner alive until munmap(2), even after the owner's descriptor has been
// closed. One table per process; thread-safe.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace xenpv::sim::guest {

/// The owner of mapped pages. The destructor releases it at the host.
class mapped_object {
 public:
  virtual ~mapped_object() = default;
  mapped_object() = default;
  mapped_object(const mapped_object&) = delete;
  mapped_object& operator=(const mapped_object&) = delete;
};

/// The location of one page to map, and its owner.
struct page_source {
  int file = -1;
  std::uint32_t page = 0;
  std::shared_ptr<mapped_object> owner;
};

/// Maps the pages at contiguous addresses. `address` and `flags` are as in mmap(2). Returns
/// MAP_FAILED and sets errno on failure.
[[nodiscard]] void* map_pages(std::span<const page_source> pages, void* address, int protection,
                              int flags) noexcept;

/// Returns the owner of the page at `address`, or nullptr if no device has mapped that page.
[[nodiscard]] std::shared_ptr<mapped_object> owner_of_page(std::uintptr_t address) noexcept;

/// Removes the mapped pages in a range and returns their owners. Call it before munmap(2), and let
/// the owners go afterwards. Returns nothing if `address` is not page-aligned.
[[nodiscard]] std::vector<std::shared_ptr<mapped_object>> forget_pages(void* address,
                                                                       std::size_t size) noexcept;

}  // namespace xenpv::sim::guest
