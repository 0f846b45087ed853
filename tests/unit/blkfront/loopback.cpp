#include "unit/blkfront/loopback.hpp"

#include <cstring>

namespace xenpv::blkfront {
namespace {

constexpr std::uint32_t first_ref = 8;

blkback::disk_config configure(const loopback_options& o) {
  auto disk = blkback::usual_config(blkback::personality_of(o.kind), o.size, o.queues);
  disk.sector_size = o.sector_size;
  disk.physical_sector_size = o.sector_size;
  disk.read_only = o.read_only;
  disk.max_ring_page_order = o.ring_page_order;
  disk.flush = disk.flush && o.flush;
  disk.barrier = disk.barrier && o.barrier;
  disk.discard = disk.discard && o.discard;
  disk.discard_granularity = o.sector_size;
  return disk;
}

granted_pool granted(const std::shared_ptr<blk::page_pool>& pages, std::size_t first) {
  granted_pool out{pages, {}};
  if (pages)
    for (std::size_t i = 0; i < pages->size(); ++i)
      out.refs.push_back(grant_ref(static_cast<std::uint32_t>(first_ref + first + i)));
  return out;
}

}  // namespace

loopback::loopback(loopback_options options)
    : config_(configure(options)),
      medium_(std::make_shared<blkback::memory_medium>(options.size)),
      guard_(options.queues, *this) {
  for (unsigned i = 0; i < options.queues; ++i)
    add_queue(options);
}

loopback::~loopback() = default;

void loopback::add_queue(const loopback_options& options) {
  auto& fresh = *ends_.emplace_back(std::make_unique<end>());
  fresh.owner = this;
  fresh.index = ends_.size() - 1;
  const auto rings = std::size_t{1} << options.ring_page_order;
  const auto total = rings + options.data_pages + options.indirect_pages;
  fresh.storage.resize((total + 1) * page_size);
  void* start = fresh.storage.data();
  auto space = fresh.storage.size();
  std::align(page_size, total * page_size, start, space);
  const std::span memory(static_cast<std::byte*>(start), total * page_size);
  fresh.pages = std::make_unique<blkback::page_array>(memory, first_ref);
  fresh.data = std::make_shared<blk::page_pool>(
      memory.subspan(rings * page_size, options.data_pages * page_size), nullptr, options.scrub);
  if (options.indirect_pages > 0)
    fresh.indirect =
        std::make_shared<blk::page_pool>(memory.subspan((rings + options.data_pages) * page_size));
  const auto ring_memory = memory.first(rings * page_size);
  fresh.ring_memory = ring_memory;
  blk::geometry shape;
  shape.size = options.size;
  shape.sector_size = options.sector_size;
  shape.physical_sector_size = options.sector_size;
  shape.read_only = options.read_only;
  shape.can_flush = config_.flush || (config_.barrier && options.queues == 1);
  shape.can_discard = config_.discard;
  shape.discard_granularity = options.sector_size;
  engine_setup setup{.ring = ring::blkif_front_ring(ring_memory),
                     .data = granted(fresh.data, rings),
                     .indirect = granted(fresh.indirect, rings + options.data_pages),
                     .shape = shape,
                     .unit = config_.ring_unit(),
                     .segments = config_.max_indirect_segments == 0 ? 11 : options.segments,
                     .flush_cache = config_.flush,
                     .barrier = config_.barrier,
                     .only_queue = options.queues == 1,
                     .handle = 51728 & 0xFFFF,
                     .strict_flush = options.strict_flush,
                     .ledger = options.ledger,
                     .queue = fresh.index};
  fresh.front = std::make_unique<engine>(std::move(setup), fresh);
  auto* store = options.store;
  if (store == nullptr) {
    fresh.own_store = std::make_unique<blkback::memory_store>(medium_);
    store = fresh.own_store.get();
  }
  fresh.back = std::make_unique<blkback::engine>(
      ring_memory, *fresh.pages, *store,
      blkback::engine_options{config_, options.persistent && config_.persistent});
}

void loopback::step_front(std::size_t queue) {
  auto& ends = *ends_[queue];
  ends.send_scheduled = false;
  (void)ends.front->drain(now);
  if (ends.front->send(now)) ++notifications;
}

void loopback::step_back(std::size_t queue, std::uint32_t budget) {
  (void)ends_[queue]->back->run(budget);
}

void loopback::settle() {
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t i = 0; i < ends_.size(); ++i) {
      auto& ends = *ends_[i];
      const auto before = ends.front->statistics();
      step_front(i);
      step_back(i);
      const auto after = ends.front->statistics();
      moved = moved || after.ring_requests != before.ring_requests || ends.front->has_responses() ||
              ends.send_scheduled;
      if (ends.front->failure_reason()) moved = moved && ends.send_scheduled;
    }
    // A later queue may have unblocked an earlier one.
    for (const auto& ends : ends_)
      moved = moved || (ends->send_scheduled && !ends->front->failure_reason());
    now += 1000;
  }
}

void loopback::set_faults(const blkback::disk_faults& faults) {
  for (const auto& ends : ends_)
    ends->back->set_faults(faults);
}

std::error_code loopback::run(blk::request& r, std::size_t queue) {
  front(queue).submit(r);
  settle();
  return r.status;
}

}  // namespace xenpv::blkfront
