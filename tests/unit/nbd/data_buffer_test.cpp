#include "nbd/data_buffer.hpp"

#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <utility>

#include "bytes.hpp"

namespace xenpv::nbd::test {
namespace {

TEST(data_buffer, has_the_requested_size_whether_small_or_large) {
  for (const std::size_t size : {std::size_t{1}, 4 * kib, 32 * kib - 1, 32 * kib, 256 * kib + 1}) {
    const auto buffer = data_buffer::allocate(size);
    ASSERT_FALSE(buffer.empty()) << size;
    EXPECT_EQ(buffer.size(), size);
    std::fill_n(buffer.get(), size, std::byte{0x5a});
  }
}

TEST(data_buffer, is_empty_until_allocated_and_after_reset) {
  data_buffer buffer;
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.size(), 0U);
  buffer = data_buffer::allocate(64 * kib);
  buffer.reset();
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.size(), 0U);
}

TEST(data_buffer, moves_its_memory) {
  for (const auto size : {4 * kib, 64 * kib}) {
    auto from = data_buffer::allocate(size);
    auto* const memory = from.get();
    data_buffer to = data_buffer::allocate(8 * kib);
    to = std::move(from);
    EXPECT_EQ(to.get(), memory);
    EXPECT_EQ(to.size(), size);
    EXPECT_TRUE(from.empty());  // NOLINT(bugprone-use-after-move): the promised state
  }
}

// Instrumented builds use the heap, which ends the program if there is not enough memory.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(data_buffer, is_empty_if_there_is_not_enough_memory) {
  const auto buffer = data_buffer::allocate(std::numeric_limits<std::size_t>::max() / 4);
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.size(), 0U);
}

/// Whether the page at `address` is mapped in this process.
bool is_page_mapped(std::byte* address) {
  const auto page = reinterpret_cast<std::uintptr_t>(address) & ~std::uintptr_t{4095};
  unsigned char resident = 0;
  return ::mincore(reinterpret_cast<void*>(page), 1, &resident) == 0 || errno != ENOMEM;
}

/// Exits with status 0 if freed memory stays mapped. Runs in a separate process, because the
/// settings cannot be undone.
[[noreturn]] void free_kept_memory() {
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  ::mallopt(M_MMAP_MAX, 0);
  data_buffer::keep_freed_memory();
  auto buffer = data_buffer::allocate(256 * kib);
  auto* const middle = buffer.get() + 128 * kib;
  buffer.reset();
  std::_Exit(is_page_mapped(middle) ? 0 : 1);
}

TEST(data_buffer, stays_in_the_process_if_freed_memory_is_kept) {
  EXPECT_EXIT(free_kept_memory(), testing::ExitedWithCode(0), "");
}

TEST(data_buffer, returns_large_memory_to_the_system_at_once) {
  auto buffer = data_buffer::allocate(256 * kib);
  auto* const middle = buffer.get() + 128 * kib;
  ASSERT_TRUE(is_page_mapped(middle));
  buffer.reset();
  EXPECT_FALSE(is_page_mapped(middle));
}
#endif

}  // namespace
}  // namespace xenpv::nbd::test
