#include "blkfront/sector_guard.hpp"

#include <gmock/gmock.h>

#include <deque>
#include <random>
#include <set>

namespace xenpv::blkfront {
namespace {

using ::testing::ElementsAre;

/// Records the guard's calls, and replies on demand.
class recorder final : public sector_guard::peer {
 public:
  void hold(std::size_t queue, std::uint64_t sector) override {
    record("hold", queue, sector);
    if (answers_at_once) guard->held(sector);
  }
  void release(std::size_t queue, std::uint64_t sector) override {
    record("release", queue, sector);
    if (queue == 0 && std::exchange(locks_on_release, false)) guard->lock(0, sector);
  }
  void locked(std::size_t queue, std::uint64_t sector) override {
    record("locked", queue, sector);
    if (unlocks_at_once) guard->unlock(sector);
  }
  std::vector<std::string> take() { return std::exchange(calls_, {}); }

  sector_guard* guard = nullptr;
  bool answers_at_once = false;
  bool unlocks_at_once = false;
  bool locks_on_release = false;  ///< release() for queue 0 calls lock(), once

 private:
  void record(std::string_view call, std::size_t queue, std::uint64_t sector) {
    calls_.push_back(fmt::format("{} {} {}", call, queue, sector));
  }
  std::vector<std::string> calls_;
};

struct guarded {
  explicit guarded(std::size_t queues) : guard(queues, peer) { peer.guard = &guard; }
  recorder peer;
  sector_guard guard;
};

TEST(sector_guard, grants_a_lock_when_every_queue_holds_the_sector) {
  guarded g(3);
  g.guard.lock(1, 512);
  EXPECT_THAT(g.peer.take(), ElementsAre("hold 0 512", "hold 1 512", "hold 2 512"));
  g.guard.held(512);
  g.guard.held(512);
  EXPECT_THAT(g.peer.take(), ElementsAre());
  g.guard.held(512);
  EXPECT_THAT(g.peer.take(), ElementsAre("locked 1 512"));
  g.guard.unlock(512);
  EXPECT_THAT(g.peer.take(), ElementsAre("release 2 512", "release 1 512", "release 0 512"));
  EXPECT_TRUE(g.guard.is_idle());
}

TEST(sector_guard, sends_every_release_before_the_lock_that_follows_it) {
  guarded g(2);
  g.guard.lock(0, 512);
  g.guard.held(512);
  g.guard.held(512);
  g.peer.take();
  g.peer.locks_on_release = true;
  g.guard.unlock(512);
  // In the opposite order, the release would drop queue 1's hold for the new lock.
  EXPECT_THAT(g.peer.take(),
              ElementsAre("release 1 512", "release 0 512", "hold 0 512", "hold 1 512"));
}

TEST(sector_guard, passes_the_lock_on_in_order_without_releasing_the_sector) {
  guarded g(2);
  g.guard.lock(1, 0);
  g.guard.lock(0, 0);
  g.guard.held(0);
  g.guard.lock(1, 0);
  g.guard.held(0);
  EXPECT_THAT(g.peer.take(), ElementsAre("hold 0 0", "hold 1 0", "locked 1 0"));
  g.guard.unlock(0);
  EXPECT_THAT(g.peer.take(), ElementsAre("locked 0 0"));
  g.guard.unlock(0);
  EXPECT_THAT(g.peer.take(), ElementsAre("locked 1 0"));
  EXPECT_FALSE(g.guard.is_idle());
  g.guard.unlock(0);
  EXPECT_THAT(g.peer.take(), ElementsAre("release 1 0", "release 0 0"));
  EXPECT_TRUE(g.guard.is_idle());
}

TEST(sector_guard, locks_two_sectors_independently) {
  guarded g(2);
  g.guard.lock(0, 0);
  g.guard.lock(1, 512);
  (void)g.peer.take();
  g.guard.held(512);
  g.guard.held(0);
  EXPECT_THAT(g.peer.take(), ElementsAre());
  g.guard.held(512);
  EXPECT_THAT(g.peer.take(), ElementsAre("locked 1 512"));
  g.guard.unlock(512);
  EXPECT_THAT(g.peer.take(), ElementsAre("release 1 512", "release 0 512"));
  g.guard.held(0);
  EXPECT_THAT(g.peer.take(), ElementsAre("locked 0 0"));
}

TEST(sector_guard, accepts_replies_within_its_own_calls) {
  guarded g(2);
  g.peer.answers_at_once = true;
  g.guard.lock(0, 0);
  EXPECT_THAT(g.peer.take(), ElementsAre("hold 0 0", "hold 1 0", "locked 0 0"));
  g.guard.unlock(0);
  (void)g.peer.take();
  g.peer.unlocks_at_once = true;
  g.guard.lock(1, 0);
  EXPECT_THAT(g.peer.take(),
              ElementsAre("hold 0 0", "hold 1 0", "locked 1 0", "release 1 0", "release 0 0"));
  EXPECT_TRUE(g.guard.is_idle());
}

TEST(sector_guard, requests_a_released_sector_again) {
  guarded g(1);
  g.peer.answers_at_once = g.peer.unlocks_at_once = true;
  g.guard.lock(0, 0);
  (void)g.peer.take();
  g.guard.lock(0, 0);
  EXPECT_THAT(g.peer.take(), ElementsAre("hold 0 0", "locked 0 0", "release 0 0"));
}

TEST(sector_guard, ignores_messages_about_unlocked_sectors) {
  guarded g(2);
  g.guard.held(0);
  g.guard.unlock(0);
  EXPECT_THAT(g.peer.take(), ElementsAre());
  g.guard.lock(0, 0);
  g.guard.held(0);
  g.guard.held(0);
  g.guard.held(0);
  EXPECT_THAT(g.peer.take(), ElementsAre("hold 0 0", "hold 1 0", "locked 0 0"));
}

/// Queues that reply late. Messages to one queue are handled in order; messages to different queues
/// are not ordered.
class slow_queues final : public sector_guard::peer {
 public:
  slow_queues(std::size_t queues, std::uint32_t seed) : guard_(queues, *this), random_(seed) {
    held_.resize(queues);
    messages_.resize(queues);
  }

  void hold(std::size_t queue, std::uint64_t sector) override {
    messages_[queue].push_back([this, queue, sector] {
      EXPECT_TRUE(held_[queue].insert(sector).second) << "held twice";
      answers_.push_back(sector);
    });
  }
  void release(std::size_t queue, std::uint64_t sector) override {
    messages_[queue].push_back(
        [this, queue, sector] { EXPECT_EQ(held_[queue].erase(sector), 1u); });
  }
  void locked(std::size_t queue, std::uint64_t sector) override {
    messages_[queue].push_back([this, queue, sector] {
      for (const auto& queue_sectors : held_)
        EXPECT_TRUE(queue_sectors.contains(sector)) << "locked, but not held everywhere";
      EXPECT_TRUE(owned_.insert(sector).second) << "two owners";
      ++granted;
      owners_.push_back(sector);
      (void)queue;
    });
  }

  /// Performs a random action. Returns false if no action is possible.
  bool move() {
    std::vector<std::function<void()>> moves;
    for (auto& queue : messages_)
      if (!queue.empty())
        moves.emplace_back([&queue] {
          const auto message = queue.front();
          queue.pop_front();
          message();
        });
    if (!answers_.empty()) moves.emplace_back([this] { guard_.held(take(answers_)); });
    if (!owners_.empty())
      moves.emplace_back([this] {
        const auto sector = take(owners_);
        owned_.erase(sector);
        guard_.unlock(sector);
      });
    if (locks_left > 0)
      moves.emplace_back([this] {
        --locks_left;
        guard_.lock(random_() % held_.size(), random_() % 3 * 512);
      });
    if (moves.empty()) return false;
    moves[random_() % moves.size()]();
    return true;
  }
  [[nodiscard]] bool is_idle() const { return guard_.is_idle(); }

  unsigned locks_left = 40;
  unsigned granted = 0;

 private:
  std::uint64_t take(std::vector<std::uint64_t>& list) {
    const auto chosen = list.begin() + static_cast<std::ptrdiff_t>(random_() % list.size());
    const auto sector = *chosen;
    list.erase(chosen);
    return sector;
  }

  sector_guard guard_;
  std::mt19937 random_;
  std::vector<std::set<std::uint64_t>> held_;
  std::vector<std::deque<std::function<void()>>> messages_;
  std::vector<std::uint64_t> answers_;
  std::vector<std::uint64_t> owners_;
  std::set<std::uint64_t> owned_;
};

TEST(sector_guard, has_one_owner_for_each_sector_in_any_order_of_messages) {
  for (std::uint32_t seed = 0; seed < 500; ++seed) {
    slow_queues queues(1 + seed % 4, seed);
    while (queues.move()) {
    }
    ASSERT_EQ(queues.granted, 40u) << "seed " << seed;
    ASSERT_TRUE(queues.is_idle());
  }
}

}  // namespace
}  // namespace xenpv::blkfront
