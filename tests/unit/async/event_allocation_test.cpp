// The hot path does not allocate memory for an event. A separate program, because it replaces
// operator new.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "unit/async/fake_evtchn.hpp"
#include "unit/async/run_coroutine.hpp"
#include "xenpv/async/event_loop.hpp"

namespace {
thread_local std::size_t allocations = 0;
}  // namespace

// Not inlined: otherwise, g++ inlines only one function of a new/delete pair and warns about a
// mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace xenpv::async {
namespace {

using test::device;

class event_allocation_test : public ::testing::Test {
 protected:
  ~event_allocation_test() override { device.clear(); }

  /// Returns the number of allocations made while `rounds` events are handled one by one.
  std::size_t count(const bound_port& port, int rounds) {
    const auto number = raw(port.number());
    const auto before = allocations;
    for (int i = 0; i < rounds; ++i) {
      device.raise(number);
      while (device.is_masked(number))
        context.run_one();
    }
    return allocations - before;
  }

  asio::io_context context{1};
};

TEST_F(event_allocation_test, callbacks_allocate_nothing) {
  event_loop loop(context);
  auto port = loop.bind_unbound(domid_0);
  int calls = 0;
  port.on_event([&] { ++calls; });
  static_cast<void>(count(port, 3));
  EXPECT_EQ(count(port, 1000), 0u);
  EXPECT_EQ(calls, 1003);
}

/// Stores the number of allocations in `made`. Ignores the first ten events, because Asio's per-run
/// caches are empty at first.
asio::awaitable<void> wait_repeatedly(event_loop& loop, int events, std::size_t& made) {
  auto port = loop.bind_unbound(domid_0);
  std::size_t before = 0;
  for (int i = 0; i < events; ++i) {
    if (i == 10) before = allocations;
    device.raise(raw(port.number()));
    co_await port.wait();
  }
  made = allocations - before;
  loop.close();
}

TEST_F(event_allocation_test, waits_allocate_nothing_once_asio_caches_are_warm) {
  event_loop loop(context);
  std::size_t made = 1;
  test::run(context, wait_repeatedly(loop, 1000, made));
  EXPECT_EQ(made, 0u);
}

}  // namespace
}  // namespace xenpv::async
