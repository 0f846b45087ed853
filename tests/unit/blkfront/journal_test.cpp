// The unfinished requests that are resent after a backend was lost, and their order.
#include "blkfront/journal.hpp"

#include <gmock/gmock.h>

#include <deque>
#include <random>
#include <set>

namespace xenpv::blkfront {
namespace {

struct replay_item {
  std::uint64_t begin = 0;  ///< byte offset on the device
  std::uint64_t end = 0;
  bool changes = false;
  bool flushes = false;
};

/// A journal that creates its requests from replay_items and identifies them by their tickets.
class replay_order {
 public:
  using ticket = journal::ticket;

  ticket add(const replay_item& item) {
    auto& r = requests_.emplace_back();
    r.op = item.flushes   ? blk::operation::flush
           : item.changes ? blk::operation::write
                          : blk::operation::read;
    r.offset = item.begin;
    r.length = item.end - item.begin;
    (void)journal_.add(r, 0);
    return requests_.size();
  }
  std::vector<ticket> take_ready() {
    std::vector<ticket> out;
    journal_.send_ready([&](blk::request& r, ticket id, bool in_doubt) {
      EXPECT_FALSE(in_doubt);
      EXPECT_EQ(&r, &requests_[id - 1]);
      out.push_back(id);
    });
    return out;
  }
  void answered(ticket id) { journal_.answered(requests_[id - 1]); }
  void unsend(ticket id) { journal_.unsend(requests_[id - 1]); }
  [[nodiscard]] bool contains(ticket id) const { return journal_.contains(id); }
  [[nodiscard]] bool empty() const { return journal_.empty(); }
  [[nodiscard]] std::size_t size() const { return journal_.size(); }

 private:
  std::deque<blk::request> requests_;
  journal journal_;
};

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr replay_item read(std::uint64_t begin, std::uint64_t end) {
  return {begin, end, false, false};
}
constexpr replay_item write(std::uint64_t begin, std::uint64_t end) {
  return {begin, end, true, false};
}
constexpr replay_item flush_item() {
  return {0, 0, false, true};
}

TEST(journal, disjoint_requests_are_sent_at_once_and_in_order) {
  replay_order order;
  const auto a = order.add(write(0, 512));
  const auto b = order.add(write(512, 1024));
  const auto c = order.add(read(4096, 8192));
  EXPECT_THAT(order.take_ready(), ElementsAre(a, b, c));
  EXPECT_THAT(order.take_ready(), IsEmpty()) << "each is sent once";
}

TEST(journal, a_write_waits_for_an_earlier_one_to_the_same_bytes) {
  replay_order order;
  const auto a = order.add(write(0, 4096));
  const auto b = order.add(write(4095, 8192));
  const auto c = order.add(write(8000, 9000));
  EXPECT_THAT(order.take_ready(), ElementsAre(a));
  order.answered(a);
  EXPECT_THAT(order.take_ready(), ElementsAre(b));
  order.answered(b);
  EXPECT_THAT(order.take_ready(), ElementsAre(c));
}

TEST(journal, a_read_waits_for_an_earlier_write_and_a_write_for_an_earlier_read) {
  replay_order order;
  const auto a = order.add(write(0, 512));
  const auto b = order.add(read(0, 512));
  const auto c = order.add(read(0, 512));
  const auto d = order.add(write(0, 512));
  EXPECT_THAT(order.take_ready(), ElementsAre(a));
  order.answered(a);
  EXPECT_THAT(order.take_ready(), ElementsAre(b, c)) << "two reads do not conflict";
  order.answered(c);
  EXPECT_THAT(order.take_ready(), IsEmpty());
  order.answered(b);
  EXPECT_THAT(order.take_ready(), ElementsAre(d));
}

TEST(journal, a_flush_waits_for_all_earlier_changes_and_nothing_waits_for_a_flush) {
  replay_order order;
  const auto a = order.add(write(0, 512));
  const auto b = order.add(read(512, 1024));
  const auto c = order.add(flush_item());
  const auto d = order.add(write(1 << 20, 2 << 20));
  const auto e = order.add(flush_item());
  EXPECT_THAT(order.take_ready(), ElementsAre(a, b, d));
  order.answered(a);
  EXPECT_THAT(order.take_ready(), ElementsAre(c));
  order.answered(d);
  EXPECT_THAT(order.take_ready(), ElementsAre(e));
}

TEST(journal, a_later_request_does_not_overtake_a_waiting_one) {
  replay_order order;
  const auto a = order.add(write(0, 4096));
  EXPECT_THAT(order.take_ready(), ElementsAre(a));
  const auto late = order.add(read(0, 512));
  EXPECT_THAT(order.take_ready(), IsEmpty());
  order.answered(a);
  EXPECT_THAT(order.take_ready(), ElementsAre(late));
}

TEST(journal, requests_of_a_second_lost_backend_keep_their_place) {
  replay_order order;
  const auto a = order.add(write(0, 512));
  const auto b = order.add(write(0, 512));
  const auto c = order.add(read(4096, 8192));
  EXPECT_THAT(order.take_ready(), ElementsAre(a, c));
  order.unsend(a);
  order.unsend(c);
  EXPECT_THAT(order.take_ready(), ElementsAre(a, c));
  order.answered(a);
  EXPECT_THAT(order.take_ready(), ElementsAre(b));
}

TEST(journal, forgets_requests_answered_without_being_sent) {
  replay_order order;
  const auto a = order.add(write(0, 512));
  const auto b = order.add(write(0, 512));
  order.answered(b);
  EXPECT_TRUE(order.contains(a));
  EXPECT_FALSE(order.contains(b));
  order.answered(b);
  EXPECT_THAT(order.take_ready(), ElementsAre(a));
  order.answered(a);
  EXPECT_TRUE(order.empty());
}

/// Checks the rules by brute force on random histories.
TEST(journal, never_has_two_conflicting_requests_in_flight) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
    replay_order order;
    std::map<replay_order::ticket, replay_item> live;
    std::set<replay_order::ticket> in_flight;
    const auto clash = [](const replay_item& later, const replay_item& earlier) {
      if (later.flushes) return earlier.changes;
      const bool overlap = later.begin < earlier.end && earlier.begin < later.end;
      return overlap && (later.changes || earlier.changes);
    };
    for (unsigned step = 0; step < 200; ++step) {
      if (pick(2) == 0) {
        const auto begin = std::uint64_t{pick(16)};
        replay_item item = pick(6) == 0 ? flush_item() : read(begin, begin + 1 + pick(4));
        item.changes = !item.flushes && pick(2) == 0;
        live.emplace(order.add(item), item);
      }
      for (const auto ticket : order.take_ready())
        ASSERT_TRUE(in_flight.insert(ticket).second) << "seed " << seed << ": sent twice";
      for (const auto& [late, later] : live)
        for (const auto& [early, earlier] : live)
          ASSERT_FALSE(early < late && in_flight.contains(late) && clash(later, earlier))
              << "seed " << seed << ": " << late << " overtook " << early;
      if (!in_flight.empty() && pick(3) != 0) {
        const auto done =
            std::next(in_flight.begin(), pick(static_cast<unsigned>(in_flight.size())));
        if (pick(10) == 0) {
          order.unsend(*done);
        } else {
          order.answered(*done);
          live.erase(*done);
        }
        in_flight.erase(done);
      }
    }
    while (!live.empty()) {
      for (const auto ticket : order.take_ready())
        in_flight.insert(ticket);
      ASSERT_FALSE(in_flight.empty()) << "seed " << seed << ": all requests are blocked";
      const auto done = *in_flight.begin();
      order.answered(done);
      live.erase(done);
      in_flight.erase(done);
    }
    EXPECT_TRUE(order.empty());
  }
}

}  // namespace
}  // namespace xenpv::blkfront
