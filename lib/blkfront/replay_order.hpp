// In which order requests that a lost backend left unanswered may be sent to the next one. Pure:
// knows stretches and promises, not requests; its owner maps tickets to them.
//
// Requests in flight have no order among each other, but a replay must not give them a strange one:
// the old backend may have carried a request out, and somebody may have read what it wrote. So
//  - requests that touch the same bytes, one of which changes them, go in the order they came in,
//    each when the one before is answered: no write is applied after a later one;
//  - a flush goes when every earlier change is answered: what it promises includes them, whatever
//    the old backend's cache had become of;
//  - all others go at once.
// What is added while others wait obeys the same rules, so that nothing overtakes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace xenpv::blkfront {

struct replay_item {
  std::uint64_t begin = 0;  ///< bytes of the device, from here
  std::uint64_t end = 0;    ///< up to here; empty for a flush
  bool changes = false;     ///< what is stored: a write, a discard
  bool flushes = false;
};

class replay_order {
 public:
  using ticket = std::uint64_t;

  /// Behind all others.
  ticket add(const replay_item& item);
  /// Those that may be sent now, in order; each is named once (until unsend()).
  [[nodiscard]] std::vector<ticket> take_ready();
  /// It is done with, whatever the answer; also one that was never sent.
  void answered(ticket which);
  /// It was sent to a backend that is lost, too.
  void unsend(ticket which);

  [[nodiscard]] bool contains(ticket which) const { return items_.contains(which); }
  [[nodiscard]] bool empty() const noexcept { return items_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }

 private:
  struct entry {
    replay_item item;
    std::size_t before = 0;  ///< earlier ones it waits for
    bool sent = false;
  };
  [[nodiscard]] static bool must_wait(const replay_item& later,
                                      const replay_item& earlier) noexcept;

  std::map<ticket, entry> items_;
  ticket last_ = 0;
};

}  // namespace xenpv::blkfront
