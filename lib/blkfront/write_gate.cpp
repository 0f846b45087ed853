#include "blkfront/write_gate.hpp"

#include <utility>

namespace xenpv::blkfront {

request_list* write_gate::find(const stretch& bytes, std::uint64_t order) noexcept {
  if (bytes.empty()) return nullptr;
  for (auto& raised : fences_)
    if (raised.bytes.overlaps(bytes)) return &raised.parked;
  for (auto it = holds_.lower_bound(bytes.begin - bytes.begin % sector_size_);
       it != holds_.end() && it->first < bytes.end; ++it)
    if (it->second.effective || it->second.order < order) return &it->second.parked;
  return nullptr;
}

bool write_gate::park(blk::request& r, const stretch& bytes) noexcept {
  if (is_open()) return false;
  auto* const list = find(bytes, r.device.order);
  if (list == nullptr) return false;
  list->push(r);
  ++parked_;
  return true;
}

void write_gate::forget(const blk::request& r) noexcept {
  if (parked_ == 0) return;
  const auto remove = [&](request_list& parked) {
    if (parked.remove(r)) --parked_;
  };
  for (auto& [sector, held] : holds_)
    remove(held.parked);
  for (auto& raised : fences_)
    remove(raised.parked);
}

request_list write_gate::unpark(request_list& parked) noexcept {
  for (const auto* r = parked.first; r != nullptr; r = r->device.next)
    --parked_;
  return std::exchange(parked, {});
}

void write_gate::hold(std::uint64_t sector, std::uint64_t order) {
  holds_.try_emplace(sector).first->second.order = order;
}

void write_gate::take_effect(std::uint64_t sector) noexcept {
  const auto it = holds_.find(sector);
  if (it != holds_.end()) it->second.effective = true;
}

request_list write_gate::release(std::uint64_t sector) noexcept {
  const auto it = holds_.find(sector);
  if (it == holds_.end()) return {};
  const auto woken = unpark(it->second.parked);
  holds_.erase(it);
  return woken;
}

void write_gate::raise_fence(std::uint64_t id, const stretch& bytes) {
  fences_.push_back({id, bytes, {}});
}

request_list write_gate::lower_fence(std::uint64_t id) noexcept {
  for (auto it = fences_.begin(); it != fences_.end(); ++it) {
    if (it->id != id) continue;
    const auto woken = unpark(it->parked);
    fences_.erase(it);
    return woken;
  }
  return {};
}

std::vector<std::uint64_t> write_gate::waiting_holds(const stretch& bytes) const {
  std::vector<std::uint64_t> out;
  if (bytes.empty()) return out;
  for (auto it = holds_.lower_bound(bytes.begin - bytes.begin % sector_size_);
       it != holds_.end() && it->first < bytes.end; ++it)
    if (!it->second.effective) out.push_back(it->first);
  return out;
}

const std::uint64_t* write_gate::waiting_hold(std::uint64_t sector) const noexcept {
  const auto it = holds_.find(sector);
  return it == holds_.end() || it->second.effective ? nullptr : &it->second.order;
}

void write_gate::forget_parked() noexcept {
  for (auto& [sector, held] : holds_)
    held.parked = {};
  for (auto& raised : fences_)
    raised.parked = {};
  parked_ = 0;
}

void write_gate::clear() noexcept {
  holds_.clear();
  fences_.clear();
  parked_ = 0;
}

}  // namespace xenpv::blkfront
