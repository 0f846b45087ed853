// The frontend with QEMU's own block backend (backend=qemu-real). Runs inside a simulated domain;
// run_with_qemu.sh creates the disks' files and starts the host.
//
// Environment: XENPV_QEMU_BYTES, how much of xvdb to write and verify (default: 64 MiB);
// XENPV_QEMU_KILLS, how often to kill QEMU under load (default: 10); XENPV_TEST_LOG, if set, shows
// the engine's log.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "async/nursery.hpp"
#include "sim/block_device.hpp"
#include "sim/recovery_case.hpp"
#include "sim/recovery_load.hpp"
#include "sim/recovery_oracle.hpp"
#include "sim/simulated_toolstack.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::blkfront {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr unsigned xvdb = 51728;
constexpr unsigned xvdc = 51744;  // 32 MiB, for toolstack actions
constexpr unsigned xvdd = 51760;  // read-only

constexpr std::size_t piece_bytes = 256 * 1024;
constexpr unsigned writers = 8;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const auto* const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// Returns the contents of a piece of the disk, different for each piece and each `version`.
std::vector<std::byte> contents_of(std::uint64_t piece, std::uint64_t version) {
  std::vector<std::byte> out(piece_bytes);
  std::mt19937_64 random(piece << 8 | version);
  for (std::size_t at = 0; at < piece_bytes; at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random();
    std::memcpy(out.data() + at, &word, sizeof word);
  }
  return out;
}

/// Returns the numbers of all pieces in random order.
std::vector<std::uint64_t> shuffled_pieces(std::uint64_t bytes, unsigned seed) {
  std::vector<std::uint64_t> out(bytes / piece_bytes);
  std::iota(out.begin(), out.end(), std::uint64_t{0});
  std::shuffle(out.begin(), out.end(), std::mt19937(seed));
  return out;
}

/// The work of a group of coroutines: each takes the next piece until none is left.
struct piece_queue {
  std::vector<std::uint64_t> pieces;
  std::size_t next = 0;
  std::vector<std::uint64_t> wrong;  ///< pieces that differ from what was written
};

asio::awaitable<void> write_pieces(frontend& disk, piece_queue& queue) {
  while (queue.next < queue.pieces.size()) {
    const auto piece = queue.pieces[queue.next++];
    const auto bytes = contents_of(piece, 1);
    co_await disk.write(piece * piece_bytes, bytes);
  }
}

asio::awaitable<void> verify_pieces(frontend& disk, piece_queue& queue) {
  std::vector<std::byte> bytes(piece_bytes);
  while (queue.next < queue.pieces.size()) {
    const auto piece = queue.pieces[queue.next++];
    co_await disk.read(piece * piece_bytes, bytes);
    if (bytes != contents_of(piece, 1)) queue.wrong.push_back(piece);
  }
}

/// Runs `work` in several coroutines at once.
asio::awaitable<void> run_in_parallel(async::runtime& runtime, frontend& disk, piece_queue& queue,
                                      asio::awaitable<void> (*work)(frontend&, piece_queue&)) {
  async::nursery group(runtime.control());
  for (unsigned i = 0; i < writers; ++i)
    group.spawn(work(disk, queue));
  co_await group.join();
}

TEST(qemu_backend, connects_and_offers_its_features) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, path_of(xvdb));
    EXPECT_THAT(disk->facts().backend, HasSubstr("/backend/qdisk/"));
    EXPECT_EQ(disk->queue_count(), 1U);
    EXPECT_EQ(disk->facts().segments, 11U);
    EXPECT_FALSE(disk->facts().persistent);
    EXPECT_EQ(disk->facts().flush, flush_support::cache);
    EXPECT_TRUE(disk->shape().can_flush);
    EXPECT_TRUE(disk->shape().can_discard);
    EXPECT_FALSE(disk->shape().read_only);
    EXPECT_EQ(disk->shape().sector_size, 512U);
    co_await disk->flush();
    co_await disk->close();
    const auto state = co_await runtime.store().read(path_of(xvdb) + "/state");
    EXPECT_EQ(state, "6");
  });
}

TEST(qemu_backend, returns_the_data_of_random_writes) {
  const auto bytes = number_from("XENPV_QEMU_BYTES", std::uint64_t{64} << 20);
  with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, path_of(xvdb));
    EXPECT_GE(disk->shape().size, bytes);
    piece_queue queue;
    queue.pieces = shuffled_pieces(bytes, 1);
    co_await run_in_parallel(runtime, *disk, queue, write_pieces);
    co_await disk->flush();
    co_await disk->close();
  });
  // A new connection, so that the data cannot come from this process or from the old ring.
  with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, path_of(xvdb));
    piece_queue queue;
    queue.pieces = shuffled_pieces(bytes, 2);
    co_await run_in_parallel(runtime, *disk, queue, verify_pieces);
    EXPECT_THAT(queue.wrong, IsEmpty());
    co_await disk->close();
  });
}

TEST(qemu_backend, discards_only_the_requested_range) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, path_of(xvdc));
    const auto before = contents_of(0, 2);
    co_await disk->write(0, before);
    co_await disk->flush();
    const std::vector<std::byte> zeros(4096);
    const std::size_t first = 64 * 1024;
    const std::size_t count = 128 * 1024;
    co_await disk->discard(first, count);
    std::vector<std::byte> after(piece_bytes);
    co_await disk->read(0, after);
    // A file system that cannot punch holes keeps the old data.
    for (std::size_t at = 0; at < piece_bytes; at += zeros.size()) {
      const bool is_old = std::memcmp(after.data() + at, before.data() + at, zeros.size()) == 0;
      const bool is_zero = std::memcmp(after.data() + at, zeros.data(), zeros.size()) == 0;
      const bool in_range = at >= first && at < first + count;
      EXPECT_TRUE(is_old || (in_range && is_zero)) << "at " << at;
    }
    co_await disk->close();
  });
}

TEST(qemu_backend, writes_and_reads_with_any_alignment) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, path_of(xvdc));
    const auto all = contents_of(1, 3);
    const auto part = std::span(all).first(100'001);
    constexpr std::uint64_t offset = (1U << 20) + 333;
    co_await disk->write(offset, part, true);
    std::vector<std::byte> back(part.size());
    co_await disk->read(offset, back);
    EXPECT_TRUE(std::equal(back.begin(), back.end(), part.begin()));
    co_await disk->close();
  });
}

TEST(qemu_backend, exports_a_cdrom_read_only) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, path_of(xvdd));
    EXPECT_TRUE(disk->shape().read_only);
    std::array<std::byte, 4096> block{};
    co_await disk->read(0, block);
    const auto problem = co_await failure_of(disk->write(0, block));
    EXPECT_EQ(problem.code, std::errc::read_only_file_system) << problem.text;
    co_await disk->close();
  });
}

TEST(qemu_backend, announces_a_resize) {
  with_runtime([](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, path_of(xvdc));
    const auto before = disk->shape().size;
    const auto megabytes = before == (32U << 20) ? 48U : 32U;
    toolstack(fmt::format("resize xvdc {}M", megabytes));
    auto is_resized = [&] { return disk->shape().size != before; };
    co_await poll_until(runtime, is_resized);
    EXPECT_EQ(disk->shape().size, std::uint64_t{megabytes} << 20);
    std::array<std::byte, 4096> block{};
    co_await disk->write((std::uint64_t{megabytes} << 20) - block.size(), block);
    co_await disk->close();
  });
}

/// A disk under verified load.
struct loaded_disk {
  std::unique_ptr<frontend> device;
  std::vector<std::unique_ptr<recovery_load>> loads;
  std::vector<std::string> problems;
};

constexpr unsigned workers = 12;
constexpr std::size_t load_cells =
    (workers + 1) * recovery_load::region_size / recovery_oracle::cell_size;

/// Runs a worker's `part` on the thread of the disk's queue.
asio::awaitable<void> run_part(loaded_disk& disk, std::size_t worker,
                               asio::awaitable<void> (recovery_load::*part)()) {
  auto& load = *disk.loads[worker];
  std::string thrown;
  auto body = [&]() -> asio::awaitable<void> {
    try {
      co_await (load.*part)();
    } catch (const failure& e) {
      thrown = e.what();
    }
  };
  co_await async::run_on(disk.device->queue(0).get_executor(), body);
  if (!thrown.empty()) disk.problems.push_back(thrown);
}

/// Stops the workers, then flushes and reads all data.
asio::awaitable<void> stop_and_verify(loaded_disk& disk, async::nursery& working) {
  for (auto& load : disk.loads) {
    auto stop = [&load] { load->stop(); };
    co_await async::call_on(disk.device->queue(0).get_executor(), stop);
  }
  co_await working.join();
  co_await run_part(disk, 0, &recovery_load::flush);
  for (std::size_t i = 0; i < disk.loads.size(); ++i)
    co_await run_part(disk, i, &recovery_load::verify);
  for (const auto& load : disk.loads)
    disk.problems.insert(disk.problems.end(), load->problems().begin(), load->problems().end());
}

/// Runs `disturb`, which blocks, on its own thread while the disk is under load.
asio::awaitable<void> disturb_under_load(async::runtime& runtime, loaded_disk& disk,
                                         recovery_oracle& oracle, std::function<void()> disturb) {
  disk.device = co_await frontend::open(runtime, path_of(xvdb));
  for (unsigned i = 0; i < workers; ++i)
    disk.loads.push_back(std::make_unique<recovery_load>(disk.device->queue(0), oracle, i, workers,
                                                         1000 + i, false));
  async::nursery working(runtime.control());
  for (unsigned i = 0; i < workers; ++i)
    working.spawn(run_part(disk, i, &recovery_load::run));
  co_await run_blocking(runtime, std::move(disturb));
  co_await stop_and_verify(disk, working);
  co_await disk.device->close();
}

/// Waits until the frontend and the backend are connected.
void await_connection(sim::simulated_toolstack& toolstack) {
  const auto limit = std::chrono::steady_clock::now() + 60s;
  while (toolstack.frontend_state(xvdb) != "4" || toolstack.read(xvdb, "state") != "4") {
    if (std::chrono::steady_clock::now() > limit)
      throw failure(errc::timed_out, "wait for the frontend and QEMU to connect");
    std::this_thread::sleep_for(1ms);
  }
}

void show_log_if_requested() {
  if (std::getenv("XENPV_TEST_LOG") != nullptr) set_up_log("qemu", log_level::debug);
}

TEST(qemu_backend, loses_no_flushed_write_when_it_is_killed_under_load) {
  show_log_if_requested();
  const auto kills = number_from("XENPV_QEMU_KILLS", 10);
  sim::simulated_toolstack toolstack;
  recovery_oracle oracle(load_cells);
  loaded_disk disk;
  std::mt19937 random(1);
  auto kill_repeatedly = [&] {
    for (std::uint64_t i = 0; i < kills; ++i) {
      await_connection(toolstack);
      std::this_thread::sleep_for(std::chrono::milliseconds(5 + random() % 100));
      oracle.note_loss();
      toolstack.restart(xvdb);
    }
    await_connection(toolstack);
  };
  std::uint64_t operations = 0;
  with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
    co_await disturb_under_load(runtime, disk, oracle, kill_repeatedly);
    EXPECT_THAT(disk.problems, IsEmpty());
    EXPECT_GE(disk.device->recovery().reconnects, kills);
    EXPECT_GT(disk.device->recovery().replayed, 0U) << "no request was in flight at any kill";
    for (const auto& load : disk.loads)
      operations += load->operations();
    fmt::print("{} kills, {} operations, {} requests replayed\n", kills, operations,
               disk.device->recovery().replayed);
    disk.loads.clear();
    disk.device.reset();
  });
  const auto status = toolstack.status();
  EXPECT_THAT(status["kernel_bugs"], IsEmpty());
}

/// Needs a custodian, because a resume requires one.
TEST(qemu_backend, is_replaced_when_the_guest_is_restored) {
  if (!has_custodian) GTEST_SKIP() << "needs a custodian";
  show_log_if_requested();
  sim::simulated_toolstack toolstack;
  recovery_oracle oracle(load_cells);
  loaded_disk disk;
  auto save_twice = [&] {
    for (const bool same_number : {true, false}) {
      await_connection(toolstack);
      std::this_thread::sleep_for(20ms);
      toolstack.save_restore(same_number, 20ms);
    }
    await_connection(toolstack);
  };
  async::runtime runtime;
  runtime.run([&](async::runtime& self) -> asio::awaitable<void> {
    co_await disturb_under_load(self, disk, oracle, save_twice);
    EXPECT_THAT(disk.problems, IsEmpty());
    EXPECT_EQ(self.resumes(), 2U);
    disk.loads.clear();
    disk.device.reset();
  });
  const auto status = toolstack.status();
  EXPECT_THAT(status["kernel_bugs"], IsEmpty());
  EXPECT_EQ(status["backends"].size(), 1U) << "the QEMU of the saved domain must have ended";
}

TEST(qemu_backend, is_listed_in_the_status_with_its_disks) {
  sim::simulated_toolstack toolstack;
  const auto status = toolstack.status();
  ASSERT_EQ(status["backends"].size(), 1U) << status.dump(2);
  const auto& qemu = status["backends"][0];
  EXPECT_EQ(qemu["backend"], "qemu-real");
  EXPECT_THAT(qemu["disks"].get<std::vector<std::string>>(), ElementsAre("xvdb", "xvdc", "xvdd"));
  EXPECT_GT(qemu["process"].get<int>(), 1);
}

// Must be the last case, because the disk does not come back.
TEST(qemu_backend, zz_releases_a_disk_that_the_toolstack_detaches) {
  sim::simulated_toolstack domain_0;
  const auto id = domain_0.own_status()["domid"].dump();
  with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, path_of(xvdc));
    // The command waits for this process to close the disk.
    toolstack(fmt::format("--domain {} unplug xvdc &", id));
    auto is_unplugged = [&] { return disk->state() == device_state::unplugged; };
    co_await poll_until(runtime, is_unplugged);
    std::array<std::byte, 512> sector{};
    const auto problem = co_await failure_of(disk->read(0, sector));
    EXPECT_EQ(problem.code.value(), ESHUTDOWN) << problem.text;
    co_await disk->close();
  });
}

}  // namespace
}  // namespace xenpv::blkfront
