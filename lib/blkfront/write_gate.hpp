// Which writes of one queue may enter the ring: a write that overlaps a held sector or a fence is
// parked until that goes, and is then looked at again, first come first served.
//
// A hold is a sector that some queue of the device merges bytes into. It takes effect when no
// earlier write of this queue overlaps it any more; until then writes that came before the hold
// still pass, so that a stream of merges cannot starve a wide write. A fence covers the bytes of a
// write that timed out while the backend still has it; it takes effect at once, for all writes.
//
// Pure; owned by an engine, on its thread. Does not know what is in the ring.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <vector>

#include "blkfront/planner.hpp"
#include "blkfront/request_list.hpp"

namespace xenpv::blkfront {

class write_gate {
 public:
  explicit write_gate(std::uint32_t sector_size) noexcept : sector_size_(sector_size) {}

  /// Every write may pass.
  [[nodiscard]] bool is_open() const noexcept { return holds_.empty() && fences_.empty(); }
  /// Whether a write of `bytes`, which came as number `order`, has to wait.
  [[nodiscard]] bool blocks(const stretch& bytes, std::uint64_t order) noexcept {
    return !is_open() && find(bytes, order) != nullptr;
  }
  /// Parks `r` if it has to wait with `bytes`. False: it may go.
  [[nodiscard]] bool park(blk::request& r, const stretch& bytes) noexcept;
  /// Removes `r` if it is parked.
  void forget(const blk::request& r) noexcept;

  /// `sector` is asked for after the request that came as number `order`.
  void hold(std::uint64_t sector, std::uint64_t order);
  /// The hold has taken effect.
  void take_effect(std::uint64_t sector) noexcept;
  /// Ends a hold. Returns the writes that waited for it, in order.
  [[nodiscard]] request_list release(std::uint64_t sector) noexcept;

  void raise_fence(std::uint64_t id, const stretch& bytes);
  [[nodiscard]] request_list lower_fence(std::uint64_t id) noexcept;

  /// The sectors within `bytes` whose holds have not taken effect.
  [[nodiscard]] std::vector<std::uint64_t> waiting_holds(const stretch& bytes) const;
  /// The number that the hold of `sector` came after, if it has not taken effect.
  [[nodiscard]] const std::uint64_t* waiting_hold(std::uint64_t sector) const noexcept;

  /// Calls `function(blk::request&)` for each parked request.
  template <class Function>
  void for_each_parked(Function function) const {
    const auto visit = [&](const request_list& list) {
      for (auto* r = list.first; r != nullptr; r = r->device.next)
        function(*r);
    };
    if (parked_ == 0) return;
    for (const auto& [sector, each] : holds_)
      visit(each.parked);
    for (const auto& each : fences_)
      visit(each.parked);
  }

  /// Forgets parked requests; holds and fences stay.
  void forget_parked() noexcept;
  /// Forgets holds, fences and parked requests.
  void clear() noexcept;

 private:
  struct held_sector {
    std::uint64_t order = 0;
    bool effective = false;
    request_list parked;
  };
  struct fence {
    std::uint64_t id = 0;
    stretch bytes;
    request_list parked;
  };

  /// Where a write has to wait; null: nowhere.
  [[nodiscard]] request_list* find(const stretch& bytes, std::uint64_t order) noexcept;
  request_list unpark(request_list& from) noexcept;

  std::uint32_t sector_size_;
  std::map<std::uint64_t, held_sector> holds_;  ///< by first byte; they do not overlap
  std::list<fence> fences_;                     ///< few: each is a request that timed out
  std::size_t parked_ = 0;
};

}  // namespace xenpv::blkfront
