// Random traffic on every kind of backend and connection, checked against a model of the disk.
// Reads return exactly the bytes that were written, regardless of the interleaving.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <random>
#include <tuple>

#include "unit/blkfront/loopback.hpp"

namespace xenpv::blkfront {
namespace {

using blk::operation;

/// A request in flight. Requests in flight may share sectors, but only reads may overlap.
struct flight : test_request {
  std::size_t queue = 0;
  std::optional<blk::lease> leased;
};

class traffic {
 public:
  traffic(loopback& disk, unsigned seed)
      : disk_(disk), random_(seed), model_(disk.disk().size, std::byte{0}) {}

  void run(unsigned operations) {
    for (unsigned i = 0; i < operations; ++i) {
      start_one();
      for (auto turns = pick(0, 3); turns > 0; --turns)
        step();
      collect();
    }
    disk_.settle();
    collect();
    ASSERT_TRUE(in_flight_.empty());
    ASSERT_TRUE(std::equal(model_.begin(), model_.end(), disk_.medium().data()));
    for (std::size_t i = 0; i < disk_.queues(); ++i)
      EXPECT_TRUE(disk_.front(i).is_idle());
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
      disk_.step_back(queue, static_cast<std::uint32_t>(pick(1, 8)));
  }

  [[nodiscard]] bool collides(operation op, std::uint64_t begin, std::uint64_t end) const {
    for (const auto& other : in_flight_) {
      if (op == operation::read && other->op == operation::read) continue;
      if (begin < other->offset + other->length && other->offset < end) return true;
    }
    return false;
  }

  void choose_range(flight& r) {
    const auto sector = disk_.disk().sector_size;
    const auto longest = pick(0, 9) == 0 ? std::uint64_t{300'000} : std::uint64_t{20'000};
    r.length = pick(1, longest);
    r.offset = pick(0, model_.size() - r.length);
    if (pick(0, 2) != 0) {
      r.offset -= r.offset % sector;
      r.length = std::max<std::uint64_t>(r.length - r.length % sector, sector);
    }
    r.length = std::min(r.length, model_.size() - r.offset);
  }

  void start_one() {
    auto fresh = std::make_unique<flight>();
    auto& r = *fresh;
    r.queue = pick(0, disk_.queues() - 1);
    const auto kind = pick(0, 19);
    r.op = kind == 0                           ? operation::flush
           : kind == 1 && disk_.disk().discard ? operation::discard
           : kind < 10                         ? operation::read
                                               : operation::write;
    if (r.op == operation::flush && !disk_.front(r.queue).shape().can_flush) return;
    if (r.op != operation::flush) choose_range(r);
    if (r.op == operation::discard) {
      r.offset -= r.offset % disk_.disk().sector_size;
      r.length -= r.length % disk_.disk().sector_size;
    }
    if (collides(r.op, r.offset, r.offset + r.length)) return;
    if (r.op == operation::read || r.op == operation::write) give_memory(r);
    if (r.op == operation::write) r.fua = disk_.front(r.queue).shape().can_flush && pick(0, 9) == 0;
    disk_.front(r.queue).submit(r);
    in_flight_.push_back(std::move(fresh));
  }

  void give_memory(flight& r) {
    r.bytes.resize(r.length);
    if (r.op == operation::write)
      for (auto& byte : r.bytes)
        byte = static_cast<std::byte>(random_());
    if (pick(0, 1) == 0)
      r.leased =
          blk::lease::try_take(disk_.pool(r.queue), r.offset, r.length, disk_.disk().sector_size);
    if (!r.leased) {
      r.memory = r.bytes.data();
      return;
    }
    r.pages = &*r.leased;
    if (r.op == operation::write) r.leased->copy_from(0, r.bytes);
  }

  void collect() {
    for (auto at = in_flight_.begin(); at != in_flight_.end();) {
      if ((*at)->answers == 0) {
        ++at;
        continue;
      }
      check(**at);
      at = in_flight_.erase(at);
    }
  }

  void check(flight& r) {
    ASSERT_EQ(r.status, std::error_code()) << to_string(r.op) << ' ' << r.offset;
    ASSERT_EQ(r.answers, 1u);
    const auto position = model_.begin() + static_cast<std::ptrdiff_t>(r.offset);
    if (r.op == operation::write) std::copy(r.bytes.begin(), r.bytes.end(), position);
    if (r.op == operation::discard) std::fill_n(position, r.length, std::byte{0});
    if (r.op != operation::read) return;
    if (r.leased) r.leased->copy_to(0, r.bytes);
    ASSERT_TRUE(std::equal(r.bytes.begin(), r.bytes.end(), position))
        << "read of " << r.length << " bytes at " << r.offset;
  }

  loopback& disk_;
  std::mt19937 random_;
  std::vector<std::byte> model_;
  std::deque<std::unique_ptr<flight>> in_flight_;
};

/// The first member is an index of wire::backend_kinds.
using matrix_point = std::tuple<std::size_t, unsigned, unsigned, bool, bool, std::uint32_t>;

class engine_matrix : public ::testing::TestWithParam<matrix_point> {};

TEST_P(engine_matrix, reads_return_the_written_bytes) {
  const auto [backend, order, queues, indirect, persistent, sector] = GetParam();
  const auto kind = wire::backend_kinds[backend].value;
  const auto& personality = blkback::personality_of(kind);
  loopback disk({.kind = kind,
                 .queues = personality.multi_queue ? queues : 1,
                 .ring_page_order = std::min(order, personality.max_ring_page_order),
                 .segments = indirect ? 40U : 11U,
                 .data_pages = 90,
                 .indirect_pages = indirect ? 6U : 0U,
                 .persistent = persistent,
                 .sector_size = sector});
  traffic random(disk, order * 100 + queues * 10 + sector + (persistent ? 1 : 0));
  random.run(1500);
}

std::string name_of(const ::testing::TestParamInfo<matrix_point>& info) {
  const auto [backend, order, queues, indirect, persistent, sector] = info.param;
  return fmt::format("{}_order{}_queues{}_{}_{}_sector{}", wire::backend_kinds[backend].name, order,
                     queues, indirect ? "indirect" : "direct", persistent ? "persistent" : "mapped",
                     sector);
}

INSTANTIATE_TEST_SUITE_P(
    all, engine_matrix,
    ::testing::Combine(::testing::Range(std::size_t{0}, wire::backend_kinds.size()),
                       ::testing::Values(0U, 4U), ::testing::Values(1U, 3U), ::testing::Bool(),
                       ::testing::Bool(), ::testing::Values(512U, 4096U)),
    name_of);

}  // namespace
}  // namespace xenpv::blkfront
