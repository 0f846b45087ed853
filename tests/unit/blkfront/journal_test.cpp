// What of a lost backend's requests may be sent to the next one, and when.
#include "blkfront/journal.hpp"

#include <gmock/gmock.h>

#include <deque>
#include <random>
#include <set>

namespace xenpv::blkfront {
namespace {

struct replay_item {
  std::uint64_t begin = 0;  ///< bytes of the device
  std::uint64_t end = 0;
  bool changes = false;
  bool flushes = false;
};

/// A journal by tickets: requests made from items.
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
    journal_.send_ready([&](blk::request& r, ticket which, bool in_doubt) {
      EXPECT_FALSE(in_doubt);
      EXPECT_EQ(&r, &requests_[which - 1]);
      out.push_back(which);
    });
    return out;
  }
  void answered(ticket which) { journal_.answered(requests_[which - 1]); }
  void unsend(ticket which) { journal_.unsend(requests_[which - 1]); }
  [[nodiscard]] bool contains(ticket which) const { return journal_.contains(which); }
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
constexpr replay_item flush() {
  return {0, 0, false, true};
}

TEST(journal, requests_that_do_not_touch_each_other_go_at_once_and_in_order) {
  replay_order order;
  const auto a = order.add(write(0, 512));
  const auto b = order.add(write(512, 1024));
  const auto c = order.add(read(4096, 8192));
  EXPECT_THAT(order.take_ready(), ElementsAre(a, b, c));
  EXPECT_THAT(order.take_ready(), IsEmpty()) << "each once";
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
  EXPECT_THAT(order.take_ready(), ElementsAre(b, c)) << "two reads disturb nobody";
  order.answered(c);
  EXPECT_THAT(order.take_ready(), IsEmpty());
  order.answered(b);
  EXPECT_THAT(order.take_ready(), ElementsAre(d));
}

TEST(journal, a_flush_waits_for_all_changes_before_it_and_nobody_waits_for_a_flush) {
  replay_order order;
  const auto a = order.add(write(0, 512));
  const auto b = order.add(read(512, 1024));
  const auto c = order.add(flush());
  const auto d = order.add(write(1 << 20, 2 << 20));
  const auto e = order.add(flush());
  EXPECT_THAT(order.take_ready(), ElementsAre(a, b, d));
  order.answered(a);
  EXPECT_THAT(order.take_ready(), ElementsAre(c));
  order.answered(d);
  EXPECT_THAT(order.take_ready(), ElementsAre(e));
}

TEST(journal, what_comes_later_overtakes_nothing_that_waits) {
  replay_order order;
  const auto a = order.add(write(0, 4096));
  EXPECT_THAT(order.take_ready(), ElementsAre(a));
  const auto late = order.add(read(0, 512));
  EXPECT_THAT(order.take_ready(), IsEmpty());
  order.answered(a);
  EXPECT_THAT(order.take_ready(), ElementsAre(late));
}

TEST(journal, what_was_sent_to_a_backend_that_is_lost_too_goes_again_in_its_old_place) {
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

TEST(journal, forgets_what_was_answered_without_being_sent) {
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

/// The rules, said once more by the plainest means, over random stories.
TEST(journal, never_has_two_in_flight_of_which_one_should_wait) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
    replay_order order;
    std::map<replay_order::ticket, replay_item> live;
    std::set<replay_order::ticket> flying;
    const auto clash = [](const replay_item& later, const replay_item& earlier) {
      if (later.flushes) return earlier.changes;
      const bool overlap = later.begin < earlier.end && earlier.begin < later.end;
      return overlap && (later.changes || earlier.changes);
    };
    for (unsigned step = 0; step < 200; ++step) {
      if (pick(2) == 0) {
        const auto begin = std::uint64_t{pick(16)};
        replay_item item = pick(6) == 0 ? flush() : read(begin, begin + 1 + pick(4));
        item.changes = !item.flushes && pick(2) == 0;
        live.emplace(order.add(item), item);
      }
      for (const auto ticket : order.take_ready())
        ASSERT_TRUE(flying.insert(ticket).second) << "seed " << seed << ": sent twice";
      for (const auto& [late, later] : live)
        for (const auto& [early, earlier] : live)
          ASSERT_FALSE(early < late && flying.contains(late) && clash(later, earlier))
              << "seed " << seed << ": " << late << " overtook " << early;
      if (!flying.empty() && pick(3) != 0) {
        const auto done = std::next(flying.begin(), pick(static_cast<unsigned>(flying.size())));
        if (pick(10) == 0) {
          order.unsend(*done);
        } else {
          order.answered(*done);
          live.erase(*done);
        }
        flying.erase(done);
      }
    }
    while (!live.empty()) {
      for (const auto ticket : order.take_ready())
        flying.insert(ticket);
      ASSERT_FALSE(flying.empty()) << "seed " << seed << ": all wait for each other";
      const auto done = *flying.begin();
      order.answered(done);
      live.erase(done);
      flying.erase(done);
    }
    EXPECT_TRUE(order.empty());
  }
}

}  // namespace
}  // namespace xenpv::blkfront
