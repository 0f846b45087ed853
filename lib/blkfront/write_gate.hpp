// Decides which writes of one queue may enter the ring. A write that overlaps a write-locked sector
// ("hold" in the code) or a fence is parked until the lock or fence ends, and is then checked
// again, in FIFO order.
//
// A write lock covers a sector for the duration of a read-modify-write on any queue of the device.
// It takes effect once no earlier write of this queue overlaps the sector. Until then, writes
// submitted before the lock request still pass, so that a stream of merges cannot starve a large
// write. A fence covers the bytes of a timed-out write that is still in flight at the backend. It
// takes effect immediately, for all writes.
//
// Does no I/O. Owned by an engine and used on its thread. Does not track the ring's contents.
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

  /// Whether every write may pass.
  [[nodiscard]] bool is_open() const noexcept { return holds_.empty() && fences_.empty(); }
  /// Whether a write of `bytes`, submitted as request number `order`, has to wait.
  [[nodiscard]] bool blocks(const stretch& bytes, std::uint64_t order) noexcept {
    return !is_open() && find(bytes, order) != nullptr;
  }
  /// Parks `r` if its write of `bytes` has to wait. Returns false if the write may pass.
  [[nodiscard]] bool park(blk::request& r, const stretch& bytes) noexcept;
  /// Removes `r` if it is parked.
  void forget(const blk::request& r) noexcept;

  /// Begins a write lock on `sector`, which was requested after request number `order`.
  void hold(std::uint64_t sector, std::uint64_t order);
  /// Marks the write lock as effective.
  void take_effect(std::uint64_t sector) noexcept;
  /// Ends a write lock. Returns the writes that it parked, in order.
  [[nodiscard]] request_list release(std::uint64_t sector) noexcept;

  void raise_fence(std::uint64_t id, const stretch& bytes);
  [[nodiscard]] request_list lower_fence(std::uint64_t id) noexcept;

  /// The sectors within `bytes` whose write locks have not taken effect.
  [[nodiscard]] std::vector<std::uint64_t> waiting_holds(const stretch& bytes) const;
  /// The `order` of the write lock on `sector`; null if the lock does not exist or has taken
  /// effect.
  [[nodiscard]] const std::uint64_t* waiting_hold(std::uint64_t sector) const noexcept;

  /// Calls `function(blk::request&)` for each parked request.
  template <class Function>
  void for_each_parked(Function function) const {
    const auto visit = [&](const request_list& list) {
      for (auto* r = list.first; r != nullptr; r = r->device.next)
        function(*r);
    };
    if (parked_ == 0) return;
    for (const auto& [sector, held] : holds_)
      visit(held.parked);
    for (const auto& raised : fences_)
      visit(raised.parked);
  }

  /// Forgets parked requests; write locks and fences stay.
  void forget_parked() noexcept;
  /// Forgets write locks, fences and parked requests.
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

  /// The list in which a write has to wait; null if the write may pass.
  [[nodiscard]] request_list* find(const stretch& bytes, std::uint64_t order) noexcept;
  request_list unpark(request_list& parked) noexcept;

  std::uint32_t sector_size_;
  std::map<std::uint64_t, held_sector> holds_;  ///< by the offset of the sector's first byte
  std::list<fence> fences_;                     ///< only a few: one per timed-out write
  std::size_t parked_ = 0;
};

}  // namespace xenpv::blkfront
