#include "nbd/client_slots.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

namespace xenpv::nbd {

client_slot* client_slots::find(std::uint64_t number) noexcept {
  const auto found = std::ranges::find(slots_, number, &client_slot::number);
  return found == slots_.end() ? nullptr : &*found;
}

std::size_t client_slots::count(client_slot::phase phase) const noexcept {
  return static_cast<std::size_t>(std::ranges::count(slots_, phase, &client_slot::now));
}

std::size_t client_slots::least_used_queue(blk::block_device& device) const {
  std::vector<std::size_t> load(device.queue_count());
  for (const auto& slot : slots_)
    if (slot.now == client_slot::phase::served && slot.device == &device) ++load[slot.queue];
  return static_cast<std::size_t>(std::ranges::min_element(load) - load.begin());
}

void client_slots::arrive(client_slot& slot, const asio::any_io_executor& executor) {
  slot.thread = executor;
  for (auto& action : std::exchange(slot.pending, {}))
    post(slot, std::move(action));
}

asio::any_io_executor client_slots::depart(client_slot& slot) {
  auto left = *slot.thread;
  slot.thread.reset();
  return left;
}

void client_slots::post(client_slot& slot, client_slot::action action) {
  if (!slot.thread) return slot.pending.push_back(std::move(action));
  asio::post(*slot.thread, [client = slot.client, action = std::move(action)] { action(*client); });
}

}  // namespace xenpv::nbd
