// Cuts the backend's power at random moments. Afterwards, the disk must contain every write that
// completed with FUA or before the submission of a flush that completed, and each sector must hold
// data that was written to it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "blkback/volatile_store.hpp"
#include "unit/blkfront/loopback.hpp"

namespace xenpv::blkfront {
namespace {

using blk::operation;

constexpr std::uint64_t sectors = 64;
constexpr std::uint32_t sector_size = 512;

/// Version numbers of one sector. The platter may hold any version from `durable` to `written`.
struct sector_history {
  std::uint32_t written = 0;  ///< the last version submitted
  std::uint32_t acked = 0;
  std::uint32_t durable = 0;
};

struct stamped : test_request {
  std::size_t queue = 0;
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  std::vector<std::uint32_t> versions;  ///< writes only: the version of each sector
  std::vector<std::uint32_t> covered;   ///< flushes only: each sector's `acked` at submission
};

class power_cut {
 public:
  power_cut(unsigned seed, unsigned queues, bool barrier_only)
      : random_(seed),
        platter_(std::make_shared<blkback::memory_medium>(sectors * sector_size)),
        platter_store_(platter_),
        cache_(platter_store_, sector_size),
        disk_({.kind = barrier_only ? blkback::backend_kind::tapdisk
                                    : blkback::backend_kind::linux_blkback,
               .queues = queues,
               .size = sectors * sector_size,
               .store = &cache_}) {}

  void run() {
    for (auto left = pick(5, 120); left > 0; --left) {
      start_one();
      for (auto turns = pick(0, 4); turns > 0; --turns)
        step();
      collect();
    }
    cache_.power_cut(random_());
    check();
  }

 private:
  std::uint64_t pick(std::uint64_t low, std::uint64_t high) {
    return std::uniform_int_distribution<std::uint64_t>(low, high)(random_);
  }

  void step() {
    const auto queue = pick(0, disk_.queues() - 1);
    if (pick(0, 1) == 0)
      disk_.step_front(queue);
    else
      disk_.step_back(queue, static_cast<std::uint32_t>(pick(1, 4)));
  }

  void start_one() {
    auto fresh = std::make_unique<stamped>();
    auto& r = *fresh;
    r.queue = pick(0, disk_.queues() - 1);
    if (pick(0, 5) == 0) {
      r.op = operation::flush;
      for (const auto& sector : history_)
        r.covered.push_back(sector.acked);
    } else if (!prepare_write(r)) {
      return;
    }
    disk_.front(r.queue).submit(r);
    in_flight_.push_back(std::move(fresh));
  }

  bool prepare_write(stamped& r) {
    r.op = operation::write;
    r.count = pick(1, 20);
    r.first = pick(0, sectors - r.count);
    for (const auto& other : in_flight_)
      if (other->op == operation::write && r.first < other->first + other->count &&
          other->first < r.first + r.count)
        return false;
    r.fua = pick(0, 7) == 0;
    r.offset = r.first * sector_size;
    r.length = r.count * sector_size;
    r.bytes.resize(r.length);
    r.memory = r.bytes.data();
    for (std::uint64_t i = 0; i < r.count; ++i) {
      const auto version = ++history_[r.first + i].written;
      r.versions.push_back(version);
      for (std::uint32_t at = 0; at < sector_size; at += 4)
        std::memcpy(r.bytes.data() + i * sector_size + at, &version, 4);
    }
    return true;
  }

  void collect() {
    std::erase_if(in_flight_, [&](const std::unique_ptr<stamped>& r) {
      if (r->answers == 0) return false;
      EXPECT_EQ(r->status, std::error_code());
      if (r->op == operation::flush)
        for (std::uint64_t i = 0; i < sectors; ++i)
          history_[i].durable = std::max(history_[i].durable, r->covered[i]);
      for (std::uint64_t i = 0; i < r->versions.size(); ++i) {
        auto& sector = history_[r->first + i];
        sector.acked = r->versions[i];
        if (r->fua) sector.durable = std::max(sector.durable, r->versions[i]);
      }
      return true;
    });
  }

  void check() {
    for (std::uint64_t i = 0; i < sectors; ++i) {
      std::uint32_t values[sector_size / 4];
      std::memcpy(values, platter_->data() + i * sector_size, sector_size);
      for (const auto value : values)
        ASSERT_EQ(value, values[0]) << "sector " << i << " is torn";
      ASSERT_GE(values[0], history_[i].durable) << "sector " << i << " lost a flushed write";
      ASSERT_LE(values[0], history_[i].written)
          << "sector " << i << " holds a version that was never sent";
    }
  }

  std::mt19937 random_;
  std::shared_ptr<blkback::memory_medium> platter_;
  blkback::memory_store platter_store_;
  blkback::volatile_store cache_;
  loopback disk_;
  std::array<sector_history, sectors> history_{};
  std::vector<std::unique_ptr<stamped>> in_flight_;
};

TEST(crash_consistency, no_flushed_write_is_lost_over_a_thousand_power_cuts) {
  for (unsigned seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    power_cut(seed, 1, false).run();
    if (HasFatalFailure()) return;
  }
}

TEST(crash_consistency, flush_on_one_queue_covers_writes_through_another) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    power_cut(seed, 3, false).run();
    if (HasFatalFailure()) return;
  }
}

TEST(crash_consistency, barrier_protects_writes_like_a_flush) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    power_cut(seed, 1, true).run();
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace xenpv::blkfront
