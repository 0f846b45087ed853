#include "sim/guest/mappings.hpp"

#include <sys/mman.h>

#include <cerrno>

#include "xenpv/base/types.hpp"

namespace xenpv::sim::guest {

void* map_pages(std::span<const page_source> pages, int protection) noexcept {
  const auto size = pages.size() * page_size;
  // Reserve the whole range first: the pages must be contiguous, and another thread must not map
  // memory between them.
  void* base = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  auto* bytes = static_cast<std::byte*>(base);
  for (std::size_t i = 0; i < pages.size();) {
    std::size_t run = 1;
    while (i + run < pages.size() && pages[i + run].file == pages[i].file &&
           pages[i + run].page == pages[i].page + run)
      ++run;
    void* piece = ::mmap(bytes + i * page_size, run * page_size, protection, MAP_SHARED | MAP_FIXED,
                         pages[i].file, off_t{pages[i].page} * off_t{page_size});
    if (piece == MAP_FAILED) {
      const int saved = errno;
      ::munmap(base, size);
      errno = saved;
      return nullptr;
    }
    i += run;
  }
  return base;
}

void mapping_table::insert(void* address, mapping entry) {
  const std::lock_guard lock(mutex_);
  entries_[address] = entry;
}

std::optional<mapping_table::mapping> mapping_table::take(void* address, std::size_t pages) {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find(address);
  if (entry == entries_.end() || entry->second.pages != pages) return std::nullopt;
  const auto taken = entry->second;
  entries_.erase(entry);
  return taken;
}

}  // namespace xenpv::sim::guest
