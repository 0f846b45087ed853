// Data safety, one case at a time: a disk must never undo a completed write, write another
// request's bytes, or report lost writes as flushed. Runs inside a simulated domain.
// recovery_test.cpp tests the same guarantees with random events.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <boost/asio/use_awaitable.hpp>

#include "async/nursery.hpp"
#include "sim/block_device.hpp"
#include "sim/recovery_case.hpp"
#include "sim/simulated_toolstack.hpp"
#include "xenpv/async/run_on.hpp"

namespace xenpv::blkfront {
namespace {

using namespace std::chrono_literals;

constexpr unsigned xvdb = 51728;
constexpr unsigned xvdc = 51744;  // a volatile cache
constexpr std::size_t sector_size = 512;
/// Delays only the first write; changing the faults releases it.
constexpr auto first_write_late = "late=60s:1/1000000";

std::vector<std::byte> filled(int value, std::size_t size = sector_size) {
  return std::vector<std::byte>(size, static_cast<std::byte>(value));
}

/// Outcome of a request, set when the request completes.
struct pending {
  bool done = false;
  error problem;
};

asio::awaitable<void> carry_out(asio::awaitable<void> request, pending& out) {
  out.problem = co_await failure_of(std::move(request));
  out.done = true;
}

class data_safety : public ::testing::Test {
 protected:
  /// The faults of a test that has failed must not make the next one fail.
  void TearDown() override {
    if (HasFailure()) toolstack_.set_faults(xvdb, "none");
  }
  void with_disk(unsigned number, options settings,
                 std::function<asio::awaitable<void>(async::runtime&, frontend&)> body) {
    with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
      const auto disk = co_await frontend::open(runtime, path_of(number), settings);
      co_await body(runtime, *disk);
      co_await disk->close();
    });
  }
  static asio::awaitable<int> first_byte(frontend& disk, std::uint64_t offset = 0) {
    auto bytes = filled(0);
    co_await disk.read(offset, bytes);
    co_return std::to_integer<int>(bytes[0]);
  }
  /// Runs `next` while the backend still holds a request that has timed out. `next` completes
  /// either immediately or after the backend has completed the late request.
  asio::awaitable<void> follow_late_write(async::runtime& runtime, asio::awaitable<void> next) {
    pending following;
    async::nursery requests(runtime.control());
    requests.spawn(carry_out(std::move(next), following));
    // Long enough for `next` to overtake the late request, if it can.
    for (int i = 0; i < 100 && !following.done; ++i)
      co_await sleep(runtime, 1ms);
    toolstack_.set_faults(xvdb, "none");
    co_await requests.join();
    EXPECT_EQ(following.problem.text, "");
  }
  static options with_deadline() {
    options settings;
    settings.request_deadline = 40ms;
    return settings;
  }
  sim::simulated_toolstack toolstack_;
};

TEST_F(data_safety, a_timed_out_write_does_not_undo_a_later_one) {
  with_disk(xvdb, with_deadline(),
            [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
              toolstack_.set_faults(xvdb, first_write_late);
              const auto late = co_await failure_of(disk.write(0, filled(0xA)));
              EXPECT_EQ(late.code, errc::timed_out);
              const auto newer = filled(0xB);
              co_await follow_late_write(runtime, disk.write(0, newer));
              co_await disk.flush();
              const auto byte = co_await first_byte(disk);
              EXPECT_EQ(byte, 0xB);
            });
}

TEST_F(data_safety, a_timed_out_write_does_not_undo_a_later_one_to_part_of_its_sector) {
  with_disk(xvdb, with_deadline(),
            [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
              toolstack_.set_faults(xvdb, first_write_late);
              const auto late = co_await failure_of(disk.write(0, filled(0xA)));
              EXPECT_EQ(late.code, errc::timed_out);
              const auto newer = filled(0xB, 100);
              co_await follow_late_write(runtime, disk.write(0, newer));
              const auto byte = co_await first_byte(disk);
              EXPECT_EQ(byte, 0xB);
            });
}

TEST_F(data_safety, a_timed_out_discard_does_not_undo_a_later_write) {
  with_disk(xvdb, with_deadline(),
            [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
              co_await disk.write(0, filled(0xA, 4096));
              toolstack_.set_faults(xvdb, first_write_late);
              const auto late = co_await failure_of(disk.discard(0, 4096));
              EXPECT_EQ(late.code, errc::timed_out);
              const auto newer = filled(0xB);
              co_await follow_late_write(runtime, disk.write(0, newer));
              const auto byte = co_await first_byte(disk);
              EXPECT_EQ(byte, 0xB);
            });
}

TEST_F(data_safety, a_late_write_keeps_its_own_data_despite_later_writes) {
  with_disk(xvdb, with_deadline(), [&](async::runtime&, frontend& disk) -> asio::awaitable<void> {
    co_await disk.write(0, filled(0x1));
    toolstack_.set_faults(xvdb, first_write_late);
    const auto late = co_await failure_of(disk.write(0, filled(0xA)));
    EXPECT_EQ(late.code, errc::timed_out);
    // Cycle through all pages of the pool. If the late write's page were free, it would be reused.
    for (std::uint64_t i = 1; i < 2000; ++i) {
      try {
        co_await disk.write(i * sector_size, filled(0xC));
      } catch (const failure& problem) {
        // A busy machine may exceed the short deadline.
        if (problem.code() != errc::timed_out) throw;
      }
    }
    toolstack_.set_faults(xvdb, "none");
    const auto byte = co_await first_byte(disk);
    EXPECT_EQ(byte, 0xA) << "the late write's data";
  });
}

TEST_F(data_safety, a_flush_fails_once_when_a_backend_may_have_lost_covered_writes) {
  with_disk(xvdc, {}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    co_await disk.write(0, filled(0x1, 65536));
    co_await disk.flush();
    co_await disk.write(0, filled(0x2, 65536));
    toolstack_.set_faults(xvdc, "stall=0");
    pending flush;
    async::nursery requests(runtime.control());
    requests.spawn(carry_out(disk.flush(), flush));
    co_await sleep(runtime, 10ms);
    EXPECT_FALSE(flush.done);
    toolstack_.cut_power(xvdc, 7);
    toolstack_.write(xvdc, "xenpv/fault", "none");
    co_await requests.join();
    EXPECT_EQ(flush.problem.code, std::errc::io_error) << flush.problem.text;
    co_await disk.write(0, filled(0x3, 65536));
    co_await disk.flush();
    toolstack_.cut_power(xvdc, 8);
    auto bytes = filled(0, 65536);
    co_await disk.read(0, bytes);
    EXPECT_TRUE(bytes == filled(0x3, 65536)) << "flushed data must survive the power cut";
  });
}

TEST_F(data_safety, a_flush_succeeds_after_a_loss_without_unflushed_writes) {
  with_disk(xvdc, {}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    co_await disk.write(0, filled(0x1));
    co_await disk.flush();
    toolstack_.cut_power(xvdc, 9);
    co_await poll_until(runtime, [&] { return disk.recovery().reconnects == 1; });
    const auto flushed = co_await failure_of(disk.flush());
    EXPECT_EQ(flushed.text, "");
  });
}

TEST_F(data_safety, a_disk_with_another_vdi_is_rejected_after_a_backend_restart) {
  with_disk(xvdb, {}, [&](async::runtime& runtime, frontend& disk) -> asio::awaitable<void> {
    const auto uuid = toolstack_.read(xvdb, "sm-data/vdi-uuid");
    EXPECT_TRUE(uuid);
    toolstack_.remove_backend(xvdb);
    co_await poll_until(runtime, [&] { return disk.state() == device_state::recovering; });
    toolstack_.rebuild_backend(xvdb, {{"sm-data/vdi-uuid", "another"}});
    co_await poll_until(runtime, [&] { return disk.state() == device_state::failed; });
    EXPECT_EQ(disk.failure_reason()->code, errc::wrong_disk);
    toolstack_.remove_backend(xvdb);
    toolstack_.rebuild_backend(xvdb, {{"sm-data/vdi-uuid", uuid.value_or("")}});
  });
}

/// The only case with a custodian, because a resume requires a custodian.
TEST_F(data_safety, a_disk_survives_a_live_storage_migration) {
  if (!has_custodian) GTEST_SKIP() << "needs a custodian";
  async::runtime runtime;
  runtime.run([&](async::runtime& self) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(self, path_of(xvdb));
    co_await disk->write(0, filled(0x5));
    const auto before = toolstack_.read(xvdb, "sm-data/vdi-uuid");
    toolstack_.save_restore(true, 20ms, true);
    co_await poll_until(self, [&] {
      return disk->recovery().reconnects == 1 || disk->state() == device_state::failed;
    });
    EXPECT_NE(toolstack_.read(xvdb, "sm-data/vdi-uuid"), before);
    EXPECT_EQ(disk->failure_reason() ? disk->failure_reason()->text : "", "");
    auto bytes = filled(0);
    const auto problem = co_await failure_of(disk->read(0, bytes));
    EXPECT_EQ(problem.text, "");
    EXPECT_EQ(std::to_integer<int>(bytes[0]), 0x5);
    co_await disk->close();
  });
  const auto status = toolstack_.status();
  EXPECT_THAT(status["kernel_bugs"], ::testing::IsEmpty());
}

}  // namespace
}  // namespace xenpv::blkfront
