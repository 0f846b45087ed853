// Recovery from one backend loss at a time, as seen by a user of the disk. Runs in the same program
// as recovery_test.cpp, which tests recovery with random events.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <random>
#include <thread>

#include "async/nursery.hpp"
#include "sim/block_device.hpp"
#include "sim/recovery_case.hpp"
#include "sim/simulated_toolstack.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::blkfront {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr unsigned xvde = 51776;  // two queues

/// Outcome of a read, set when the read completes.
struct pending_read {
  bool done = false;
  error problem;
};

asio::awaitable<void> read_sector(frontend& disk, std::size_t queue, pending_read& out) {
  std::array<std::byte, 512> sector{};
  auto body = [&] { return disk.queue(queue).read(0, sector); };
  out.problem = co_await failure_of(async::run_on(disk.queue(queue).get_executor(), body));
  out.done = true;
}

std::vector<std::byte> filled(std::size_t size, int value) {
  return std::vector<std::byte>(size, static_cast<std::byte>(value));
}

async::runtime_options runtime_of_cases() {
  async::runtime_options settings;
  settings.with_custodian = has_custodian;
  return settings;
}

class recovery_story : public ::testing::Test {
 protected:
  /// Opens a disk, runs `body` and closes the disk.
  void with_disk(options settings,
                 std::function<asio::awaitable<void>(async::runtime&, frontend&)> body) {
    async::runtime runtime(runtime_of_cases());
    runtime.run([&](async::runtime& self) -> asio::awaitable<void> {
      const auto disk = co_await frontend::open(self, path_of(xvde), settings);
      co_await body(self, *disk);
      co_await disk->close();
    });
    const auto status = toolstack_.status();
    EXPECT_THAT(status["kernel_bugs"], IsEmpty());
  }
  sim::simulated_toolstack toolstack_;
};

TEST_F(recovery_story, requests_wait_for_a_backend_that_is_rebuilt) {
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    co_await disk.write(0, filled(512, 7));
    toolstack_.remove_backend(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::recovering; });
    pending_read waiting;
    async::nursery reads(runtime.control());
    reads.spawn(read_sector(disk, 0, waiting));
    co_await sleep(runtime, 50ms);
    EXPECT_FALSE(waiting.done);
    toolstack_.rebuild_backend(xvde);
    co_await reads.join();
    EXPECT_EQ(waiting.problem.text, "");
    // Waiting requests complete before the state changes.
    co_await poll_until(runtime, [&] { return disk.state() == device_state::connected; });
    EXPECT_EQ(disk.recovery().reconnects, 1U);
    EXPECT_EQ(disk.recovery().last_reason, "the backend directory was removed");
    EXPECT_GE(disk.recovery().longest_pause, 50ms);
    EXPECT_EQ(disk.recovery().replayed, 0U) << "submitted after the loss";
  });
}

TEST_F(recovery_story, a_cancelled_suspend_has_no_effect) {
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    co_await disk.write(0, filled(512, 7));
    const auto before = toolstack_.own_status();
    // One request stays in flight until the guest runs again.
    toolstack_.set_faults(xvde, "stall=0");
    pending_read waiting;
    async::nursery reads(runtime.control());
    reads.spawn(read_sector(disk, 0, waiting));
    for (int i = 0; i < 3; ++i)
      toolstack_.checkpoint(30ms);
    EXPECT_FALSE(waiting.done);
    toolstack_.set_faults(xvde, "none");
    co_await reads.join();
    EXPECT_EQ(waiting.problem.text, "");
    const bool resumed = co_await runtime.check_resume();
    EXPECT_FALSE(resumed);
    EXPECT_EQ(runtime.resumes(), 0U);
    EXPECT_EQ(disk.state(), device_state::connected);
    EXPECT_EQ(disk.recovery().reconnects, 0U);
    EXPECT_EQ(toolstack_.own_status()["user_event_channels"], before["user_event_channels"]);
  });
}

TEST_F(recovery_story, requests_fail_after_the_recovery_timeout_and_the_disk_can_reconnect) {
  options settings;
  settings.recovery_timeout = 100ms;
  with_disk(settings, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    toolstack_.remove_backend(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::recovering; });
    pending_read late;
    co_await read_sector(disk, 0, late);
    EXPECT_EQ(late.problem.code, errc::timed_out);
    EXPECT_TRUE(disk.recovery().timed_out);
    EXPECT_EQ(disk.state(), device_state::recovering);
    pending_read at_once;
    co_await read_sector(disk, 1, at_once);
    EXPECT_EQ(at_once.problem.code, errc::timed_out);
    toolstack_.rebuild_backend(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::connected; });
    pending_read after;
    co_await read_sector(disk, 0, after);
    EXPECT_EQ(after.problem.text, "");
    EXPECT_FALSE(disk.recovery().timed_out);
  });
}

TEST_F(recovery_story, a_disk_of_another_size_is_rejected_without_writing_to_it) {
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    co_await disk.write(0, filled(512, 1));
    toolstack_.remove_backend(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::recovering; });
    async::nursery reads(runtime.control());
    pending_read waiting;
    reads.spawn(read_sector(disk, 0, waiting));
    toolstack_.rebuild_backend(xvde, {{"xenpv/size", "8388608"}, {"xenpv/medium", "another"}});
    co_await poll_until(runtime, [&] { return disk.state() == device_state::failed; });
    co_await reads.join();
    EXPECT_EQ(waiting.problem.code, errc::wrong_disk);
    EXPECT_EQ(disk.failure_reason()->code, errc::wrong_disk);
    EXPECT_THAT(disk.failure_reason()->text,
                HasSubstr("device/vbd/51776: the size is 8 MiB (8388608 bytes), "
                          "previously 16 MiB (16777216 bytes)"));
  });
  toolstack_.remove_backend(xvde);
  toolstack_.rebuild_backend(xvde, {{"xenpv/size", "16777216"}, {"xenpv/medium", "guest-1/xvde"}});
}

asio::awaitable<error> failure_to_open_again(async::runtime& runtime, std::string identity) {
  const options settings;
  error out;
  try {
    const auto disk =
        co_await frontend::open_again(runtime, path_of(xvde), settings, std::move(identity));
    co_await disk->close();
  } catch (const failure& e) {
    out = {e.code(), e.what()};
  }
  co_return out;
}

TEST_F(recovery_story, open_again_verifies_the_identity_of_the_disk) {
  std::string identity;
  with_disk({}, [&](async::runtime&, frontend& disk) -> asio::awaitable<void> {
    identity = co_await disk.identity();
  });
  EXPECT_THAT(identity, HasSubstr("size=16777216"));
  async::runtime runtime(runtime_of_cases());
  runtime.run([&](async::runtime& self) -> asio::awaitable<void> {
    const auto same = co_await failure_to_open_again(self, identity);
    EXPECT_EQ(same.text, "");
    auto other = identity;
    other.replace(other.find("size=16777216"), 13, "size=8388608");
    const auto refused = co_await failure_to_open_again(self, other);
    EXPECT_EQ(refused.code, errc::wrong_disk);
    EXPECT_THAT(refused.text, HasSubstr("the size is 16 MiB (16777216 bytes), previously 8 MiB"));
  });
}

TEST_F(recovery_story, a_disk_that_became_read_only_is_rejected) {
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    toolstack_.remove_backend(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::recovering; });
    toolstack_.rebuild_backend(xvde, {{"mode", "r"}});
    co_await poll_until(runtime, [&] { return disk.state() == device_state::failed; });
    EXPECT_THAT(disk.failure_reason()->text, HasSubstr("the disk is now read-only"));
  });
  toolstack_.remove_backend(xvde);
  toolstack_.rebuild_backend(xvde, {{"mode", "w"}});
}

TEST_F(recovery_story, a_queue_without_a_ring_forwards_to_another_queue) {
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    if (disk.queue_count() < 2) co_return;  // only one CPU
    auto& second = disk.queue(1);
    const auto before = filled(100'000, 3);
    auto write = [&] { return second.write(4096, before); };
    co_await async::run_on(second.get_executor(), write);
    toolstack_.remove_backend(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::recovering; });
    toolstack_.rebuild_backend(xvde, {{"xenpv/max-queues", "1"}});
    co_await poll_until(runtime, [&] { return disk.state() == device_state::connected; });
    EXPECT_EQ(disk.facts().queues, 1U);
    EXPECT_EQ(disk.queue_count(), 2U) << "callers keep references to the queues";
    std::vector<std::byte> back(before.size());
    auto use = [&]() -> asio::awaitable<void> {
      co_await second.read(4096, back);
      co_await second.write(8192, filled(5000, 9));
      // The write before the loss was not flushed and may be lost. Each queue reports this once,
      // and this queue forwards its flushes to another queue.
      const auto lost = co_await failure_of(second.flush());
      EXPECT_EQ(lost.code, std::errc::io_error);
      (void)co_await failure_of(second.flush());
      co_await second.flush();
      auto pages = second.try_lease(0, 4096);
      EXPECT_TRUE(pages) << "the queue has its own pages";
    };
    co_await async::run_on(second.get_executor(), use);
    EXPECT_TRUE(back == before);
    co_await disk.read(8192, std::span(back).first(5000));
    EXPECT_TRUE(std::equal(back.begin(), back.begin() + 5000, filled(5000, 9).begin()));
    // With two queues again, the queue has its own ring.
    toolstack_.remove_backend(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::recovering; });
    toolstack_.rebuild_backend(xvde, {{"xenpv/max-queues", "2"}});
    co_await poll_until(runtime, [&] { return disk.state() == device_state::connected; });
    EXPECT_EQ(disk.facts().queues, 2U);
    auto read = [&] { return second.read(4096, back); };
    co_await async::run_on(second.get_executor(), read);
  });
}

TEST_F(recovery_story, deadlines_are_suspended_while_the_guest_is_frozen) {
  if (!has_custodian) GTEST_SKIP() << "needs a custodian";
  options settings;
  settings.request_deadline = 400ms;
  with_disk(settings, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    toolstack_.set_faults(xvde, "stall=0");
    pending_read waiting;
    async::nursery reads(runtime.control());
    reads.spawn(read_sector(disk, 0, waiting));
    co_await sleep(runtime, 20ms);
    toolstack_.save_restore(true, 1500ms);
    co_await reads.join();
    EXPECT_EQ(waiting.problem.text, "");
    co_await poll_until(runtime, [&] { return disk.state() == device_state::connected; });
    EXPECT_EQ(disk.recovery().reconnects, 1U);
    EXPECT_EQ(disk.recovery().replayed, 1U);
    EXPECT_EQ(disk.recovery().last_reason, "the guest was saved and restored");
    EXPECT_EQ(runtime.resumes(), 1U);
  });
}

TEST_F(recovery_story, resume_hooks_are_called_once_per_resume) {
  if (!has_custodian) GTEST_SKIP() << "needs a custodian";
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    unsigned calls = 0;
    unsigned calls_after_its_end = 0;
    async::resume_hook ended_by_another;
    const auto hook = runtime.on_resume([&] {
      ++calls;
      ended_by_another = {};
    });
    ended_by_another = runtime.on_resume([&] { ++calls_after_its_end; });
    {
      const auto removed = runtime.on_resume([&] { ++calls_after_its_end; });
    }
    toolstack_.save_restore(false, 20ms);
    co_await poll_until(runtime, [&] { return disk.recovery().reconnects == 1; });
    EXPECT_EQ(calls, 1U);
    EXPECT_EQ(calls_after_its_end, 0U);
    const bool again = co_await runtime.check_resume();
    EXPECT_FALSE(again);
  });
}

TEST_F(recovery_story, closing_while_the_backend_is_lost_fails_waiting_requests) {
  pending_read waiting;
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    toolstack_.remove_backend(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::recovering; });
    async::nursery reads(runtime.control());
    reads.spawn(read_sector(disk, 0, waiting));
    co_await sleep(runtime, 10ms);
    co_await disk.close();
    co_await reads.join();
    EXPECT_EQ(disk.state(), device_state::closed);
  });
  EXPECT_EQ(waiting.problem.code, std::errc::operation_canceled);
  toolstack_.rebuild_backend(xvde);
}

TEST_F(recovery_story, a_disk_is_accepted_after_a_storage_migration) {
  if (!has_custodian) GTEST_SKIP() << "needs a custodian";
  toolstack_.write(xvde, "sm-data/vdi-uuid", "a1");
  toolstack_.write(xvde, "params", "/dev/vg/before");
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    toolstack_.save_restore(false, 20ms);
    toolstack_.write(xvde, "sm-data/vdi-uuid", "b2");
    toolstack_.write(xvde, "params", "/dev/vg/after");
    co_await poll_until(runtime, [&] { return disk.recovery().reconnects == 1; });
    EXPECT_EQ(disk.state(), device_state::connected);
    EXPECT_FALSE(disk.failure_reason());
    const auto identity = co_await disk.identity();
    EXPECT_THAT(identity, HasSubstr("vdi=b2"));
    co_await disk.write(0, filled(512, 7));
  });
}

TEST_F(recovery_story, a_disk_that_grew_during_a_backend_loss_is_resized) {
  toolstack_.write(xvde, "params", "/dev/vg/disk");
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    std::uint64_t reported = 0;
    disk.on_change([&] { reported = disk.shape().size; });
    toolstack_.remove_backend(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::recovering; });
    toolstack_.rebuild_backend(xvde, {{"xenpv/size", "33554432"}, {"xenpv/medium", "larger"}});
    co_await poll_until(runtime, [&] { return disk.state() != device_state::recovering; });
    EXPECT_EQ(disk.state(), device_state::connected);
    EXPECT_EQ(reported, 33554432U);
    co_await disk.write(33554432 - 512, filled(512, 7));
    disk.on_change({});
  });
  toolstack_.remove_backend(xvde);
  toolstack_.rebuild_backend(xvde, {{"xenpv/size", "16777216"}, {"xenpv/medium", "guest-1/xvde"}});
}

TEST_F(recovery_story, a_flush_fails_once_after_a_loss_with_unflushed_writes) {
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    co_await disk.write(0, filled(512, 7));
    toolstack_.remove_backend(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::recovering; });
    toolstack_.rebuild_backend(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::connected; });
    const auto problem = co_await failure_of(disk.flush());
    EXPECT_EQ(problem.code, std::errc::io_error);
    co_await disk.flush();
    const auto counted = co_await disk.statistics();
    EXPECT_EQ(counted[0].flushes_refused, 1U);
  });
}

TEST_F(recovery_story, a_flush_succeeds_after_a_close_by_both_ends) {
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    co_await disk.write(0, filled(512, 7));
    toolstack_.begin_closing(xvde);
    co_await poll_until(runtime, [&] { return disk.recovery().reconnects == 1; });
    EXPECT_EQ(disk.recovery().last_reason, "the backend closed the connection");
    co_await disk.flush();
  });
}

TEST_F(recovery_story, a_flush_succeeds_after_a_resume) {
  if (!has_custodian) GTEST_SKIP() << "needs a custodian";
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    co_await disk.write(0, filled(512, 7));
    toolstack_.save_restore(false, 20ms);
    co_await poll_until(runtime, [&] { return disk.recovery().reconnects == 1; });
    co_await disk.flush();
  });
}

// The backend closes in an orderly way, and then its directory is removed. The next backend is
// therefore a different one.
TEST_F(recovery_story, a_flush_fails_once_when_a_closed_backend_is_replaced) {
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    co_await disk.write(0, filled(512, 7));
    // The backend closes together with the frontend and does not return to InitWait.
    toolstack_.write(xvde, "hotplug-status", "error");
    toolstack_.begin_closing(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::recovering; });
    toolstack_.remove_backend(xvde);
    toolstack_.rebuild_backend(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::connected; });
    const auto problem = co_await failure_of(disk.flush());
    EXPECT_EQ(problem.code, std::errc::io_error);
    co_await disk.flush();
  });
}

TEST_F(recovery_story, flush_stays_available_if_the_backend_stops_offering_it) {
  options settings;
  for (const bool strict : {false, true}) {
    settings.strict_flush = strict;
    with_disk(settings, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
      EXPECT_TRUE(disk.shape().can_flush);
      EXPECT_EQ(disk.facts().flush, flush_support::cache);
      toolstack_.remove_backend(xvde);
      co_await poll_until(runtime, [&] { return disk.state() == device_state::recovering; });
      toolstack_.rebuild_backend(xvde, {{"xenpv/flush", "0"}, {"xenpv/barrier", "0"}});
      co_await poll_until(runtime, [&] { return disk.state() == device_state::connected; });
      EXPECT_EQ(disk.shape().can_flush, !strict);
      EXPECT_EQ(disk.facts().flush, strict ? flush_support::none : flush_support::ignored);
      // There were no unflushed writes before the loss, so this flush has nothing to report.
      const auto problem = co_await failure_of(disk.flush());
      EXPECT_EQ(problem.code, strict ? std::make_error_code(std::errc::operation_not_supported)
                                     : std::error_code());
    });
    toolstack_.remove_backend(xvde);
    toolstack_.rebuild_backend(xvde, {{"xenpv/flush", "1"}, {"xenpv/barrier", "1"}});
  }
}

TEST_F(recovery_story, a_killed_server_loses_no_flushed_write) {
  if (!has_custodian) GTEST_SKIP() << "needs a custodian";
  for (unsigned seed = 0; seed < 8; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    std::mt19937 random(seed);
    std::array<std::uint32_t, flushing_writer::blocks> flushed{};
    {
      flushing_writer writer(path_of(xvde), seed);
      std::this_thread::sleep_for(std::chrono::microseconds(20'000 + random() % 60'000));
      writer.kill();
      flushed = writer.flushed();
    }
    with_disk({}, [&](async::runtime&, frontend& disk) -> asio::awaitable<void> {
      for (std::size_t block = 0; block < flushing_writer::blocks; ++block) {
        std::array<std::byte, 4096> bytes{};
        co_await disk.read(block * 4096, bytes);
        std::uint32_t version = 0;
        std::memcpy(&version, bytes.data(), sizeof version);
        EXPECT_GE(version >> 8, flushed[block]) << "block " << block;
        const bool is_its_own = (version & 0xFF) == (seed & 0xFF);
        EXPECT_TRUE(is_its_own || flushed[block] == 0) << "block " << block;
      }
    });
  }
}

// Must be the last case, because the disk does not come back.
TEST_F(recovery_story, zz_a_disk_detached_by_force_is_shut_down) {
  pending_read waiting;
  with_disk({}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    // The custodian's death must not make a difference.
    if (runtime.custodian() != nullptr) ::kill(runtime.custodian()->process(), SIGKILL);
    toolstack_.set_faults(xvde, "stall=0");
    async::nursery reads(runtime.control());
    reads.spawn(read_sector(disk, 0, waiting));
    co_await sleep(runtime, 10ms);
    toolstack_.remove_device(xvde);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::unplugged; });
    co_await reads.join();
    EXPECT_THAT(disk.failure_reason()->text, HasSubstr("the toolstack forcibly detached the disk"));
    pending_read late;
    co_await read_sector(disk, 0, late);
    EXPECT_EQ(late.problem.code.value(), ESHUTDOWN);
    const auto left = co_await runtime.store().read_if_exists(path_of(xvde));
    EXPECT_EQ(left, std::nullopt) << "the device directory must not be recreated";
  });
  EXPECT_EQ(waiting.problem.code.value(), ESHUTDOWN) << waiting.problem.text;
}

}  // namespace
}  // namespace xenpv::blkfront
