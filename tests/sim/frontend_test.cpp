// A frontend: connect, I/O, takeover, and every way in which a device can end. Runs inside a
// simulated domain with the disks listed in tests/sim/CMakeLists.txt, or inside a real Xen guest
// (real-xen/scenarios/block), without the cases that need a fault or a backend restart.
#include "xenpv/blkfront/frontend.hpp"

#include <gmock/gmock.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>

#include "sim/block_device.hpp"
#include "sim/frontend_disks.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/wire/blkif.hpp"
#include "xenpv/wire/xenbus.hpp"
#include "xenpv/xen/grant_share.hpp"

namespace xenpv::blkfront {
namespace {

using namespace std::chrono_literals;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

constexpr const char* cdrom = "device/vbd/51872";      // xvdk
constexpr const char* read_only = "device/vbd/51888";  // xvdl

// At namespace scope, because g++ 12 rejects an initializer list in a coroutine's range-for.
constexpr std::array not_writable = {cdrom, read_only};
constexpr std::array unknown_units = {"device/vbd/51808", "device/vbd/51840"};  // tapdisk, FreeBSD

/// Waits until `done()` returns true. Calls it after each change of the device.
asio::awaitable<void> until(frontend& disk, async::runtime& runtime, std::function<bool()> done) {
  asio::steady_timer changed(runtime.control(), std::chrono::steady_clock::time_point::max());
  disk.on_change([&] { changed.cancel(); });
  const auto wait = [&]() -> asio::awaitable<void> {
    while (!done()) {
      boost::system::error_code ignored;
      co_await changed.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      changed.expires_at(std::chrono::steady_clock::time_point::max());
    }
  };
  co_await async::with_deadline(wait(), time_limit, "wait for the device to change");
  disk.on_change({});
}

std::vector<std::byte> pattern(std::size_t size, unsigned seed) {
  std::vector<std::byte> out(size);
  for (std::size_t i = 0; i < size; ++i)
    out[i] = static_cast<std::byte>((i * 131 + seed * 17 + i / 512) % 251);
  return out;
}

/// Returns the backend directory, which the toolstack writes to the `backend` node.
asio::awaitable<std::string> backend_of(async::runtime& runtime, std::string device) {
  return runtime.store().read(device + "/backend");
}

TEST(frontend, connects_with_all_features_of_the_backend) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, xvdb);
    EXPECT_EQ(disk->state(), device_state::connected);
    EXPECT_EQ(disk->facts().device, xvdb);
    EXPECT_EQ(disk->facts().backend, co_await backend_of(runtime, xvdb));
    EXPECT_EQ(disk->facts().backend_domain, domid_0);
    EXPECT_EQ(disk->facts().queues, disk->queue_count());
    EXPECT_EQ(disk->queue_count(), std::min<std::size_t>(runtime.cpus(), 4));
    EXPECT_TRUE(disk->facts().persistent);
    EXPECT_GT(disk->facts().segments, 11u);
    EXPECT_LE(disk->facts().pages, 512u);
    EXPECT_EQ(disk->shape().size, is_simulated() ? 64u << 20 : 256u << 20);
    EXPECT_EQ(disk->shape().can_flush, is_simulated());  // a RAM disk does not support flush
    EXPECT_EQ(co_await runtime.store().read(std::string(xvdb) + "/state"), "4");
    EXPECT_EQ(co_await runtime.store().read(std::string(xvdb) + "/protocol"),
              wire::blkif_protocol_native);
    co_await disk->close();
    EXPECT_EQ(disk->state(), device_state::closed);
    EXPECT_EQ(co_await runtime.store().read(std::string(xvdb) + "/state"), "6");
  });
}

TEST(frontend, keeps_data_across_a_reconnect_by_number) {
  const auto bytes = pattern(300'000, 3);
  with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, "51728");
    co_await disk->write(12'345, bytes);
    if (disk->shape().can_flush) co_await disk->flush();
    co_await disk->close();
  });
  with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, xvdb);
    std::vector<std::byte> back(bytes.size());
    co_await disk->read(12'345, back);
    EXPECT_TRUE(back == bytes);
    co_await disk->close();
  });
}

TEST(frontend, fails_requests_after_close) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, xvdb);
    co_await disk->close();
    co_await disk->close();
    std::array<std::byte, 512> sector{};
    const auto problem = co_await failure_of(disk->read(0, sector));
    EXPECT_EQ(problem.code, std::errc::operation_canceled);
    EXPECT_EQ(problem.text, "read 512 bytes at 0: operation canceled");
    const auto statistics = co_await disk->statistics();
    EXPECT_EQ(statistics.size(), disk->queue_count());
  });
}

TEST(frontend, closes_the_disk_after_an_exception) {
  EXPECT_THROW(with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
                 const auto disk = co_await frontend::open(runtime, xvdb);
                 throw std::runtime_error("a bug");
               }),
               std::runtime_error);
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, xvdb);
    co_await disk->close();
  });
}

TEST(frontend, counts_requests) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, xvdb);
    const auto bytes = pattern(8192, 1);
    for (unsigned i = 0; i < 10; ++i)
      co_await disk->write(i * 8192, bytes);
    const unsigned flushes = disk->shape().can_flush ? 1 : 0;
    if (flushes != 0) co_await disk->flush();
    const auto counted = co_await disk->statistics();
    const auto& writes = counted[0].operations[static_cast<int>(blk::operation::write)];
    EXPECT_EQ(writes.requests, 10u);
    EXPECT_EQ(writes.bytes, 81'920u);
    EXPECT_EQ(writes.latency_ns.count(), 10u);
    EXPECT_EQ(counted[0].operations[static_cast<int>(blk::operation::flush)].requests, flushes);
    EXPECT_EQ(counted[0].ring_requests, 10 + flushes);
    EXPECT_EQ(counted[0].notifies_sent + counted[0].notifies_suppressed, 10 + flushes);
    EXPECT_GT(counted[0].events, 0u);
    co_await disk->close();
  });
}

TEST(frontend, explains_a_missing_device) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    error problem;
    try {
      (void)co_await frontend::open(runtime, "51999");
    } catch (const failure& thrown) {
      problem = {thrown.code(), thrown.what()};
    }
    EXPECT_EQ(problem.code, errc::not_available);
    EXPECT_EQ(problem.text,
              "open device/vbd/51999: not available here (no such device; "
              "`xenstore-ls device/vbd` lists the attached devices)");
  });
}

TEST(frontend, takes_over_from_a_killed_process) {
  for (const bool with_custodian : {false, true}) {
    holder before(xvdb, with_custodian);
    before.kill();
    with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
      const auto disk = co_await frontend::open(runtime, xvdb);
      std::array<std::byte, 512> sector{};
      co_await disk->read(0, sector);
      co_await disk->close();
    });
  }
}

// The killed process's last writes may still be in flight in the backend. Until they complete, the
// backend rejects a new ring.
TEST(frontend, takes_over_from_a_process_killed_while_writing) {
  for (const bool with_custodian : {false, true}) {
    for (unsigned i = 0; i < 3; ++i) {
      holder before(xvdb, with_custodian, true);
      before.kill();
      with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
        const auto disk = co_await frontend::open(runtime, xvdb);
        const auto bytes = pattern(1 << 20, i);
        co_await disk->write(0, bytes);
        std::vector<std::byte> back(bytes.size());
        co_await disk->read(0, back);
        EXPECT_TRUE(back == bytes);
        co_await disk->close();
      });
    }
  }
}

TEST(frontend, is_closed_by_its_custodian_when_killed) {
  holder before(xvdb, true);
  before.kill();
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto backend = co_await backend_of(runtime, xvdb) + "/state";
    auto watch = co_await runtime.store().watch(backend);
    const auto wait = [&]() -> asio::awaitable<void> {
      do {
        (void)co_await watch.next();
      } while (co_await runtime.store().read(backend) != "6" ||
               co_await runtime.store().read("device/vbd/51728/state") != "6");
    };
    co_await async::with_deadline(wait(), time_limit, "wait for both ends to be Closed");
  });
}

using node_values = std::vector<std::pair<std::string, std::string>>;

/// Opens a fake device whose backend is only a xenstore directory.
asio::awaitable<error> open_scripted(async::runtime& runtime, node_values backend) {
  const auto home = co_await runtime.store().domain_path(*co_await runtime.store().own_domid());
  const auto back = home + "/data/backend/vbd/1/7";
  (void)co_await runtime.store().remove("data/vbd");
  (void)co_await runtime.store().remove("data/backend");
  co_await runtime.store().write("data/vbd/7/backend", back);
  co_await runtime.store().write("data/vbd/7/backend-id", "0");
  co_await runtime.store().write("data/vbd/7/state", "1");
  for (const auto& [name, value] : backend)
    co_await runtime.store().write(back + "/" + name, value);
  options settings;
  settings.connect_deadline = 50ms;
  settings.close_deadline = 20ms;
  try {
    const auto disk = co_await frontend::open(runtime, "data/vbd/7", settings);
    co_await disk->close();
  } catch (const failure& problem) {
    co_return error{problem.code(), problem.what()};
  }
  co_return error{};
}

struct scripted {
  node_values backend;
  std::string text;
};

/// Not in the coroutine below, because g++ 12 rejects such initialisers there.
std::vector<scripted> stalled_connects() {
  return {{{},
           "connect data/vbd/7: the backend directory does not exist (is the disk attached, and "
           "its backend domain running?): "},
          {{{"state", "1"}},
           "connect data/vbd/7: backend is in Initialising: no driver in the backend domain serves "
           "the disk (is xen-blkback loaded there?): "},
          {{{"state", "2"}},
           "connect data/vbd/7: backend is in InitWait and has not accepted this frontend's ring; "
           "hotplug-status is missing: the hotplug script has not run: "},
          {{{"state", "2"}, {"hotplug-status", "busy"}},
           "connect data/vbd/7: backend is in InitWait and has not accepted this frontend's ring; "
           "hotplug-status is 'busy': the hotplug script failed: "},
          {{{"state", "6"}},
           "connect data/vbd/7: backend is in Closed and does not prepare for a new connection: "}};
}

node_values leaving_backend() {
  return {{"state", "5"}, {"online", "0"}};
}

node_values backend_with_junk() {
  return {{"state", "2"}, {"max-ring-page-order", "many"}};
}

node_values backend_without_its_disk() {
  return {{"state", "2"},
          {"hotplug-status", "error"},
          {"hotplug-error", "losetup /srv/disk.img failed"}};
}

node_values backend_without_a_reason() {
  return {{"state", "1"}, {"hotplug-status", "error"}};
}

asio::awaitable<void> fail_with_the_toolstacks_script(async::runtime& runtime) {
  const auto quoted = co_await open_scripted(runtime, backend_without_its_disk());
  EXPECT_EQ(quoted.code, errc::not_available);
  EXPECT_EQ(quoted.text,
            "connect data/vbd/7: the hotplug script could not set up the disk: not available "
            "here (hotplug-error: losetup /srv/disk.img failed)");
  const auto silent = co_await open_scripted(runtime, backend_without_a_reason());
  EXPECT_EQ(silent.code, errc::not_available);
  EXPECT_THAT(silent.text, HasSubstr("see the log of the backend domain"));
}

asio::awaitable<void> explain_stalled_connects(async::runtime& runtime) {
  for (const auto& script : stalled_connects()) {
    const auto problem = co_await open_scripted(runtime, script.backend);
    EXPECT_EQ(problem.code, errc::timed_out) << problem.text;
    EXPECT_THAT(problem.text, ::testing::StartsWith(script.text));
  }
  const auto gone = co_await open_scripted(runtime, leaving_backend());
  EXPECT_EQ(gone.code, errc::lost_connection);
  EXPECT_THAT(gone.text, HasSubstr("the toolstack is detaching the disk (online=0)"));
  const auto junk = co_await open_scripted(runtime, backend_with_junk());
  EXPECT_THAT(junk.text, HasSubstr("backend node max-ring-page-order"));
}

TEST(frontend, explains_a_connect_that_times_out) {
  with_runtime(explain_stalled_connects);
}

TEST(frontend, fails_immediately_with_the_error_of_the_hotplug_script) {
  with_runtime(fail_with_the_toolstacks_script);
}

TEST(frontend, serves_a_cdrom_and_a_read_only_disk_read_only) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    for (const auto* device : not_writable) {
      const auto disk = co_await frontend::open(runtime, device);
      EXPECT_TRUE(disk->shape().read_only);
      EXPECT_EQ(disk->shape().cdrom, device == cdrom);
      std::array<std::byte, 2048> block{};
      co_await disk->read(0, block);
      const auto problem = co_await failure_of(disk->write(0, block));
      EXPECT_EQ(problem.code, std::errc::read_only_file_system) << problem.text;
      co_await disk->close();
    }
  });
}

TEST(frontend, rejects_a_sector_size_with_an_ambiguous_unit) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    for (const auto* device : unknown_units) {
      std::string text;
      try {
        (void)co_await frontend::open(runtime, device);
      } catch (const failure& problem) {
        text = problem.what();
      }
      EXPECT_THAT(text, HasSubstr("backend node sector-size '4096'")) << device;
      EXPECT_THAT(text, HasSubstr("configure 512-byte sectors")) << device;
    }
  });
}

TEST(frontend, shrinks_its_pool_when_pages_are_scarce_and_names_the_limit_when_exhausted) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    auto sharer = xen::grant_sharer::open();
    auto hog = sharer.share(domid_0, 900, true);
    const auto disk = co_await frontend::open(runtime, xvdb);
    EXPECT_LE(disk->facts().pages, 124u);
    std::array<std::byte, 512> sector{};
    co_await disk->read(0, sector);
    co_await disk->close();
    auto rest = sharer.share(domid_0, 120, true);
    std::string text;
    try {
      (void)co_await frontend::open(runtime, xvdb);
    } catch (const failure& problem) {
      text = problem.what();
    }
    EXPECT_THAT(text, HasSubstr("pages with domain 0"));
    EXPECT_THAT(text, HasSubstr("1024"));
  });
}

TEST(frontend, detects_a_resize) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, xvdj);
    const auto before = disk->shape().size;
    const auto megabytes = before == (32U << 20) ? 48U : 32U;
    toolstack(fmt::format("resize xvdj {}M", megabytes));
    co_await until(*disk, runtime, [&] { return disk->shape().size != before; });
    EXPECT_EQ(disk->shape().size, megabytes << 20);
    const auto bytes = pattern(4096, 9);
    co_await disk->write((megabytes << 20) - 4096, bytes);
    const auto problem = co_await failure_of(disk->write(megabytes << 20, bytes));
    EXPECT_EQ(problem.code, std::errc::invalid_argument);
    co_await disk->close();
  });
}

TEST(frontend, fails_with_a_reason_when_the_backend_violates_the_protocol) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, xvdj);
    toolstack("fault xvdj producer-jump=1");
    std::array<std::byte, 512> sector{};
    const auto problem = co_await failure_of(disk->read(0, sector));
    EXPECT_EQ(problem.code, errc::protocol_violation);
    co_await until(*disk, runtime, [&] { return disk->state() == device_state::failed; });
    EXPECT_THAT(disk->failure_reason()->text,
                HasSubstr("backend published more responses than the"));
    toolstack("fault xvdj none");
    co_await disk->close();
    const auto again = co_await frontend::open(runtime, xvdj);
    co_await again->read(0, sector);
    co_await again->close();
  });
}

TEST(frontend, times_out_unanswered_requests) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    options settings;
    settings.request_deadline = 100ms;
    settings.close_deadline = 200ms;
    const auto disk = co_await frontend::open(runtime, xvdj, settings);
    toolstack("fault xvdj stall=0");
    std::array<std::byte, 512> sector{};
    const auto problem = co_await failure_of(disk->read(0, sector));
    EXPECT_EQ(problem.code, errc::timed_out);
    EXPECT_EQ(problem.text, "read 512 bytes at 0: timed out");
    toolstack("fault xvdj none");
    co_await disk->close();
  });
}

TEST(frontend, continues_after_a_backend_restart) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, xvdj);
    const auto bytes = pattern(4096, 5);
    co_await disk->write(0, bytes);
    toolstack("restart xvdj");
    co_await until(*disk, runtime, [&] { return disk->recovery().reconnects == 1; });
    EXPECT_EQ(disk->state(), device_state::connected);
    EXPECT_FALSE(disk->failure_reason());
    EXPECT_EQ(disk->recovery().last_reason, "the backend abandoned the connection or restarted");
    EXPECT_GT(disk->recovery().longest_pause, 0ns);
    std::vector<std::byte> back(bytes.size());
    co_await disk->read(0, back);
    EXPECT_TRUE(back == bytes);
    co_await disk->close();
    EXPECT_EQ(disk->state(), device_state::closed);
  });
}

// Must be the last case, because the disk does not come back.
TEST(frontend, zz_closes_a_disk_that_the_toolstack_detaches) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, xvdj);
    toolstack("unplug xvdj &");  // the command waits for this process to close the disk
    co_await until(*disk, runtime, [&] { return disk->state() != device_state::connected; });
    EXPECT_EQ(disk->state(), device_state::unplugged);
    EXPECT_EQ(disk->failure_reason()->code.value(), ESHUTDOWN);
    EXPECT_THAT(disk->failure_reason()->text, HasSubstr("the toolstack detached the disk"));
    std::array<std::byte, 512> sector{};
    const auto problem = co_await failure_of(disk->read(0, sector));
    EXPECT_EQ(problem.code.value(), ESHUTDOWN) << problem.text;
    co_await disk->close();
  });
}

}  // namespace
}  // namespace xenpv::blkfront
