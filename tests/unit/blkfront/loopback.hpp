// Both ends of a disk in one thread: frontend and backend engines over plain memory, with any
// number of queues. They progress only in step_front() and step_back(), so that a test can choose
// the interleaving.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "blkback/disk_fault.hpp"
#include "blkback/engine.hpp"
#include "blkback/memory_store.hpp"
#include "blkback/page_array.hpp"
#include "blkfront/engine.hpp"
#include "blkfront/sector_guard.hpp"

namespace xenpv::blkfront {

/// Parses faults such as "stall=0 bad-id=2" for loopback::set_faults().
inline blkback::disk_faults faults(std::string_view text) {
  return blkback::parse_disk_faults(text).value();
}

struct loopback_options {
  blkback::backend_kind kind = blkback::backend_kind::linux_blkback;
  unsigned queues = 1;
  unsigned ring_page_order = 0;
  unsigned segments = 11;
  std::size_t data_pages = 64;
  std::size_t indirect_pages = 8;
  bool persistent = true;
  bool flush = true;
  bool barrier = true;
  bool discard = true;
  bool read_only = false;
  bool scrub = false;
  bool strict_flush = true;
  std::shared_ptr<flush_ledger> ledger = {};
  std::uint32_t sector_size = 512;
  std::uint64_t size = 1 << 20;
  /// If set, replaces the memory store.
  blkback::store* store = nullptr;
};

class loopback final : private sector_guard::peer {
 public:
  explicit loopback(loopback_options options);
  ~loopback();

  [[nodiscard]] engine& front(std::size_t queue = 0) { return *ends_[queue]->front; }
  [[nodiscard]] blkback::engine& back(std::size_t queue = 0) { return *ends_[queue]->back; }
  [[nodiscard]] const std::shared_ptr<blk::page_pool>& pool(std::size_t queue = 0) {
    return ends_[queue]->data;
  }
  [[nodiscard]] blkback::memory_medium& medium() { return *medium_; }
  [[nodiscard]] std::size_t queues() const { return ends_.size(); }
  [[nodiscard]] std::span<std::byte> ring_memory(std::size_t queue = 0) {
    return ends_[queue]->ring_memory;
  }
  [[nodiscard]] const blkback::disk_config& disk() const { return config_; }

  /// Runs one end of one queue once.
  void step_front(std::size_t queue);
  void step_back(std::size_t queue, std::uint32_t budget = ~std::uint32_t{0});
  /// Runs both ends of all queues until there is no progress.
  void settle();
  void set_faults(const blkback::disk_faults& faults);

  void deliver_fences() {
    for (const auto& deliver : std::exchange(fences_in_transit, {}))
      deliver();
  }
  /// Submits `r`, calls settle() and returns the status.
  std::error_code run(blk::request& r, std::size_t queue = 0);

  std::uint64_t now = 1'000'000;  ///< the test's clock, in ns
  std::size_t shape_changes = 0;
  std::size_t flushes_given_up = 0;  ///< calls of flush_ignored()
  std::size_t doubtful_flushes = 0;
  std::size_t notifications = 0;  ///< events sent to the backend
  bool was_suspended = false;
  bool fences_wait = false;  ///< fences are delayed until deliver_fences()
  std::vector<std::function<void()>> fences_in_transit;

 private:
  struct end final : engine_host {
    loopback* owner = nullptr;
    std::size_t index = 0;
    std::vector<std::byte> storage;
    std::span<std::byte> ring_memory;
    std::unique_ptr<blkback::page_array> pages;
    std::shared_ptr<blk::page_pool> data;
    std::shared_ptr<blk::page_pool> indirect;
    std::unique_ptr<blkback::store> own_store;
    std::unique_ptr<blkback::engine> back;
    std::unique_ptr<engine> front;
    bool send_scheduled = false;

    void schedule_send() override { send_scheduled = true; }
    void lock_sector(std::uint64_t sector) override { owner->guard_.lock(index, sector); }
    void unlock_sector(std::uint64_t sector) override { owner->guard_.unlock(sector); }
    void sector_held(std::uint64_t sector) override { owner->guard_.held(sector); }
    void raise_fences(std::uint64_t id, const stretch& bytes) override {
      owner->fences_in_transit.push_back([this, id, bytes] {
        for (auto& other : owner->ends_)
          if (other.get() != this) other->front->raise_fence(id, bytes);
        front->fence_raised(id);
      });
      if (!owner->fences_wait) owner->deliver_fences();
    }
    void lower_fences(std::uint64_t id) override {
      for (auto& other : owner->ends_)
        if (other.get() != this) other->front->lower_fence(id);
    }
    void shape_changed() override { ++owner->shape_changes; }
    [[nodiscard]] bool may_consume_responses() noexcept override { return !owner->was_suspended; }
    void flush_ignored() override { ++owner->flushes_given_up; }
    void flush_failed_after_loss() override { ++owner->doubtful_flushes; }
  };

  void hold(std::size_t queue, std::uint64_t sector) override { front(queue).hold_sector(sector); }
  void release(std::size_t queue, std::uint64_t sector) override {
    front(queue).release_sector(sector);
  }
  void locked(std::size_t queue, std::uint64_t sector) override {
    front(queue).sector_locked(sector);
  }
  void add_queue(const loopback_options& options);

  blkback::disk_config config_;
  std::shared_ptr<blkback::memory_medium> medium_;
  sector_guard guard_;
  std::vector<std::unique_ptr<end>> ends_;
};

/// A request that owns its bytes and counts its completions.
struct test_request : blk::request {
  test_request() {
    done = [](blk::request& r) { ++static_cast<test_request&>(r).answers; };
  }
  test_request(blk::operation o, std::uint64_t position, std::size_t count, std::byte fill = {})
      : test_request() {
    op = o;
    offset = position;
    length = count;
    if (o == blk::operation::read || o == blk::operation::write) {
      bytes.assign(count, fill);
      memory = bytes.data();
    }
  }
  std::vector<std::byte> bytes;
  unsigned answers = 0;
};

}  // namespace xenpv::blkfront
