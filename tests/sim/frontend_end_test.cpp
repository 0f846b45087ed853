// Frontends that end early: a cancelled caller, an exception, a dead custodian. Also tests the
// resources that the frontends of a process share: granted pages and CPUs. Runs in the same program
// as frontend_test.cpp.
#include <gmock/gmock.h>
#include <signal.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <numeric>
#include <set>
#include <stdexcept>

#include "async/nursery.hpp"
#include "sim/block_device.hpp"
#include "sim/frontend_disks.hpp"
#include "sim/recovery_case.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/xen/custodian.hpp"
#include "xenpv/xen/grant_share.hpp"

namespace xenpv::blkfront {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

// At namespace scope, because g++ 12 rejects an initializer list in a coroutine's range-for.
constexpr std::array<std::string_view, 3> states_while_closing = {"4", "5", "6"};
constexpr std::array<std::string_view, 3> states_while_opening = {"1", "3", "4"};

/// Runs `body` on a new runtime with a custodian.
void with_guarded_runtime(std::function<asio::awaitable<void>(async::runtime&)> body) {
  async::runtime runtime;
  runtime.run(std::move(body));
}

asio::awaitable<std::string> state_of(async::runtime& runtime, std::string device) {
  return runtime.store().read(device + "/state");
}

/// Waits until the device enters `state`.
asio::awaitable<void> until_state(async::runtime& runtime, std::string device,
                                  std::string_view state) {
  auto watch = co_await runtime.store().watch(device + "/state");
  for (;;) {
    (void)co_await watch.next();
    const auto now = co_await state_of(runtime, device);
    if (now == state) co_return;
  }
}

asio::awaitable<void> poll_until(async::runtime& runtime, std::function<bool()> done) {
  const auto limit = std::chrono::steady_clock::now() + time_limit;
  asio::steady_timer timer(runtime.control());
  while (!done()) {
    if (std::chrono::steady_clock::now() > limit)
      throw failure(errc::timed_out, "wait for the expected condition");
    timer.expires_after(1ms);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

asio::awaitable<void> open_disk(async::runtime& runtime, std::unique_ptr<frontend>& out) {
  out = co_await frontend::open(runtime, xvdb);
}

/// Opens, uses and closes the disk.
asio::awaitable<void> expect_usable(async::runtime& runtime, const char* device) {
  const auto disk = co_await frontend::open(runtime, device);
  std::array<std::byte, 512> sector{};
  co_await disk->read(0, sector);
  co_await disk->close();
  const auto state = co_await state_of(runtime, device);
  EXPECT_EQ(state, "6");
}

TEST(frontend_end, a_cancelled_open_closes_the_device) {
  for (const auto state : states_while_opening) {
    SCOPED_TRACE(state);
    with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
      std::unique_ptr<frontend> disk;
      async::nursery opening(runtime.control());
      opening.spawn(open_disk(runtime, disk));
      co_await async::with_deadline(until_state(runtime, xvdb, state), time_limit,
                                    "wait for the state");
      opening.cancel();
      co_await opening.join();
      if (disk) co_await disk->close();
      disk.reset();
      co_await expect_usable(runtime, xvdb);
    });
  }
}

TEST(frontend_end, an_open_cancelled_immediately_leaves_the_disk_usable) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    std::unique_ptr<frontend> disk;
    async::nursery opening(runtime.control());
    opening.spawn(open_disk(runtime, disk));
    opening.cancel();
    co_await opening.join();
    EXPECT_FALSE(disk);
    co_await expect_usable(runtime, xvdb);
  });
}

TEST(frontend_end, a_cancelled_close_still_closes) {
  for (const auto state : states_while_closing) {
    SCOPED_TRACE(state);
    with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
      const auto disk = co_await frontend::open(runtime, xvdb);
      async::nursery closing(runtime.control());
      closing.spawn(disk->close());
      co_await async::with_deadline(until_state(runtime, xvdb, state), time_limit,
                                    "wait for the state");
      closing.cancel();
      co_await closing.join();
      co_await disk->close();
      EXPECT_EQ(disk->state(), device_state::closed);
      const auto left = co_await state_of(runtime, xvdb);
      EXPECT_EQ(left, "6");
    });
  }
}

TEST(frontend_end, a_close_waits_for_a_concurrent_one) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, xvdb);
    async::nursery closing(runtime.control());
    closing.spawn(disk->close());
    co_await disk->close();
    EXPECT_EQ(disk->state(), device_state::closed);
    const auto state = co_await state_of(runtime, xvdb);
    EXPECT_EQ(state, "6");
    co_await closing.join();
  });
}

TEST(frontend_end, a_close_completes_after_an_exception_in_a_callback) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, xvdj);
    bool called = false;
    disk->on_change([&] {
      called = true;
      throw std::runtime_error("a bug");
    });
    const auto before = disk->shape().size;
    toolstack(fmt::format("resize xvdj {}M", before == (32U << 20) ? 48 : 32));
    co_await poll_until(runtime, [&] { return called; });
    co_await disk->close();
    const auto state = co_await state_of(runtime, xvdj);
    EXPECT_EQ(state, "6");
    EXPECT_EQ(disk->state(), device_state::closed);
    co_await expect_usable(runtime, xvdj);
  });
}

asio::awaitable<void> throw_with_a_disk_open(async::runtime& runtime) {
  const auto disk = co_await frontend::open(runtime, xvdb);
  throw std::runtime_error("a bug");
}

TEST(frontend_end, an_exception_in_main_closes_both_ends_of_the_disk) {
  EXPECT_THROW(with_guarded_runtime(throw_with_a_disk_open), std::runtime_error);
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto backend = co_await runtime.store().read(std::string(xvdb) + "/backend");
    // The custodian may still be closing the disk.
    co_await async::with_deadline(until_state(runtime, backend, "6"), time_limit,
                                  "wait for the backend");
    const auto own = co_await state_of(runtime, xvdb);
    EXPECT_EQ(own, "6");
  });
}

void kill_custodian(async::runtime& runtime) {
  ASSERT_EQ(::kill(runtime.custodian()->process(), SIGKILL), 0);
}

TEST(frontend_end, connects_and_closes_after_the_death_of_its_custodian) {
  if (!has_custodian) GTEST_SKIP() << "needs a custodian";
  with_guarded_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    kill_custodian(runtime);
    co_await expect_usable(runtime, xvdb);
  });
}

TEST(frontend_end, reconnects_after_the_death_of_its_custodian) {
  if (!has_custodian) GTEST_SKIP() << "needs a custodian";
  with_guarded_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, xvdj);
    kill_custodian(runtime);
    toolstack("restart xvdj");
    co_await poll_until(runtime, [&] { return disk->recovery().reconnects == 1; });
    EXPECT_EQ(disk->state(), device_state::connected);
    co_await disk->close();
  });
}

TEST(frontend_pages, four_disks_leave_a_reserve_for_other_users) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    std::vector<std::unique_ptr<frontend>> disks;
    std::size_t granted = 0;
    for (unsigned number = 51728; disks.size() < 4; number += 16) {
      disks.push_back(co_await frontend::open(runtime, fmt::format("{}", number)));
      granted += disks.back()->facts().pages;
      EXPECT_LE(disks.back()->facts().pages, 512U);
      EXPECT_GE(disks.back()->facts().pages, 16U);
    }
    EXPECT_LE(granted, 900U);
    auto foreign = xen::grant_sharer::open().share(domid_0, 100, true);
    for (const auto& disk : disks) {
      std::array<std::byte, 4096> block{};
      co_await disk->read(0, block);
    }
    for (const auto& disk : disks)
      co_await disk->close();
  });
}

TEST(frontend_pages, takes_at_most_half_of_the_free_pages) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    auto foreign = xen::grant_sharer::open().share(domid_0, 600, true);
    const auto disk = co_await frontend::open(runtime, xvdb);
    EXPECT_LE(disk->facts().pages, 212U);
    EXPECT_GE(disk->facts().pages, 64U);
    co_await disk->close();
  });
}

TEST(frontend_pages, takes_the_number_of_pages_in_the_options) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    options settings;
    settings.pages = 700;
    const auto disk = co_await frontend::open(runtime, xvdb, settings);
    EXPECT_GT(disk->facts().pages, 650U);
    EXPECT_LE(disk->facts().pages, 700U);
    co_await disk->close();
  });
}

asio::awaitable<void> take_lease(frontend& disk, std::optional<blk::lease>& out) {
  auto take = [&] { out = disk.queue(0).try_lease(0, 4096); };
  co_await async::call_on(disk.queue(0).get_executor(), take);
}

// Models a backend loss while a client receives data into granted pages.
TEST(frontend_pages, are_all_free_after_old_leases_are_returned) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    options settings;
    settings.pages = 700;
    const auto disk = co_await frontend::open(runtime, xvdj, settings);
    const auto before = disk->facts().pages;
    std::optional<blk::lease> lease;
    co_await take_lease(*disk, lease);
    EXPECT_TRUE(lease);
    toolstack("restart xvdj");
    co_await poll_until(runtime, [&] { return disk->state() == device_state::recovering; });
    asio::steady_timer a_moment(runtime.control(), 100ms);
    co_await a_moment.async_wait(asio::use_awaitable);
    auto give_back = [&] { lease.reset(); };
    co_await async::call_on(disk->queue(0).get_executor(), give_back);
    co_await poll_until(runtime, [&] { return disk->recovery().reconnects > 0; });
    EXPECT_EQ(disk->facts().pages, before);
    co_await disk->close();
  });
}

TEST(frontend_cpus, two_disks_with_one_queue_each_use_two_cpus) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    if (runtime.cpus() < 2) co_return;
    options settings;
    settings.queues = 1;
    const auto first = co_await frontend::open(runtime, xvdb, settings);
    const auto second = co_await frontend::open(runtime, xvdj, settings);
    EXPECT_NE(first->queue(0).get_executor(), second->queue(0).get_executor());
    co_await first->close();
    const auto third = co_await frontend::open(runtime, xvdb, settings);
    EXPECT_NE(third->queue(0).get_executor(), second->queue(0).get_executor());
    co_await second->close();
    co_await third->close();
  });
}

}  // namespace
}  // namespace xenpv::blkfront
