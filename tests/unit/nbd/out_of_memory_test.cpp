// If an allocation for a request fails, the client gets an error and everything else continues.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <new>

#include "session_rig.hpp"

namespace {
/// Number of allocations that succeed before all later ones fail. Negative: all succeed.
int allowed_allocations = -1;

bool may_allocate() {
  if (allowed_allocations == 0) return false;
  if (allowed_allocations > 0) --allowed_allocations;
  return true;
}
}  // namespace

// Both are replaced in the whole program, which is safe: callers of the nothrow form handle
// failure, and only data buffers are populated. Instrumented builds do not map data buffers.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
extern "C" void* mmap(void* address, std::size_t size, int protection, int flags, int descriptor,
                      off_t offset) noexcept {
  if ((flags & MAP_POPULATE) != 0 && !may_allocate()) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the system call returns an address
  return reinterpret_cast<void*>(
      ::syscall(SYS_mmap, address, size, protection, flags, descriptor, offset));
}
#endif

void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  if (!may_allocate()) return nullptr;
  try {
    return ::operator new[](size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

namespace xenpv::nbd {
namespace {

using namespace test;

class out_of_memory : public testing::Test {
 protected:
  ~out_of_memory() override { allowed_allocations = -1; }
  static session_options held() { return {.device = {.size = 4096 * kib, .answers = false}}; }
};

TEST_F(out_of_memory, fails_large_reads_and_leaves_small_ones_alone) {
  session_rig rig;
  allowed_allocations = 0;
  rig.expect_data(2, 4096);
  rig.send(read_request(1, 0, 512 * kib) + read_request(2, 0, 4096));
  EXPECT_EQ(rig.replies(), (lines{"1 ENOMEM", "2 data 4096"}));
}

TEST_F(out_of_memory, fails_a_write_and_discards_its_payload) {
  session_rig rig;
  allowed_allocations = 0;
  rig.send(write_request(1, 0, pattern(512 * kib)) + request({nbd_command::flush, 2}));
  EXPECT_EQ(rig.replies(), (lines{"1 ENOMEM", "2 ok"}));
  EXPECT_EQ(rig.queue.submitted, 1U);
}

TEST_F(out_of_memory, fails_a_write_after_submitting_some_of_its_pieces) {
  session_rig rig(held());
  allowed_allocations = 2;
  rig.send(write_request(1, 0, pattern(1024 * kib)) + request({nbd_command::flush, 2}));
  EXPECT_EQ(rig.queue.log, (lines{"write 0+262144 memory", "write 262144+262144 memory", "flush"}));
  rig.queue.answer(2);
  EXPECT_EQ(rig.replies(), lines{"2 ok"});
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 ENOMEM"});
}

}  // namespace
}  // namespace xenpv::nbd
