#include "sim/guest/mapped_pages.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <map>
#include <mutex>
#include <new>

#include "sim/guest/libc.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::sim::guest {
namespace {

struct page_table {
  std::mutex mutex;
  std::map<std::uintptr_t, std::shared_ptr<mapped_object>> pages;
};

// Lets munmap(2) of other memory skip the lock.
constinit std::atomic<std::size_t> mapped_count{0};

// Never destroyed: exit handlers of other libraries may unmap pages.
page_table& table() {
  static auto* pages = [] {
    // A thread that does not exist in the child may hold the lock.
    (void)pthread_atfork(nullptr, nullptr, [] { new (&table().mutex) std::mutex; });
    return new page_table;
  }();
  return *pages;
}

std::uintptr_t number_of(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) / page_size;
}

bool map_runs(std::span<const page_source> pages, std::byte* base, int protection) {
  for (std::size_t i = 0; i < pages.size();) {
    std::size_t run = 1;
    while (i + run < pages.size() && pages[i + run].file == pages[i].file &&
           pages[i + run].page == pages[i].page + run)
      ++run;
    if (libc::mmap(base + i * page_size, run * page_size, protection, MAP_SHARED | MAP_FIXED,
                   pages[i].file, off_t{pages[i].page} * off_t{page_size}) == MAP_FAILED)
      return false;
    i += run;
  }
  return true;
}

}  // namespace

void* map_pages(std::span<const page_source> pages, void* address, int protection,
                int flags) noexcept {
  const auto size = pages.size() * page_size;
  // Reserve the whole range first: the pages must be contiguous, and another thread must not map
  // memory between them.
  constexpr int placement = MAP_FIXED | MAP_FIXED_NOREPLACE;
  void* base = libc::mmap(address, size, PROT_NONE,
                          (flags & placement) | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return MAP_FAILED;
  if (!map_runs(pages, static_cast<std::byte*>(base), protection)) {
    const int saved = errno;
    libc::munmap(base, size);
    errno = saved;
    return MAP_FAILED;
  }
  const std::lock_guard lock(table().mutex);
  for (std::size_t i = 0; i < pages.size(); ++i)
    table().pages[number_of(base) + i] = pages[i].owner;
  mapped_count.store(table().pages.size(), std::memory_order_release);
  return base;
}

std::shared_ptr<mapped_object> owner_of_page(std::uintptr_t address) noexcept {
  const std::lock_guard lock(table().mutex);
  const auto page = table().pages.find(address / page_size);
  return page == table().pages.end() ? nullptr : page->second;
}

std::vector<std::shared_ptr<mapped_object>> forget_pages(void* address, std::size_t size) noexcept {
  std::vector<std::shared_ptr<mapped_object>> owners;
  const auto start = reinterpret_cast<std::uintptr_t>(address);
  if (mapped_count.load(std::memory_order_acquire) == 0 || start % page_size != 0) return owners;
  const std::lock_guard lock(table().mutex);
  auto& pages = table().pages;
  const auto first = pages.lower_bound(start / page_size);
  const auto last = pages.lower_bound((start + size + page_size - 1) / page_size);
  for (auto page = first; page != last; ++page)
    owners.push_back(std::move(page->second));
  pages.erase(first, last);
  mapped_count.store(pages.size(), std::memory_order_release);
  return owners;
}

}  // namespace xenpv::sim::guest
