#include "blkfront/write_gate.hpp"

#include <utility>

namespace xenpv::blkfront {

request_list* write_gate::find(const stretch& bytes, std::uint64_t order) noexcept {
  if (bytes.empty()) return nullptr;
  for (auto& each : fences_)
    if (each.bytes.overlaps(bytes)) return &each.parked;
  for (auto at = holds_.lower_bound(bytes.begin - bytes.begin % sector_size_);
       at != holds_.end() && at->first < bytes.end; ++at)
    if (at->second.effective || at->second.order < order) return &at->second.parked;
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
  const auto remove = [&](request_list& from) {
    if (from.remove(r)) --parked_;
  };
  for (auto& [sector, each] : holds_)
    remove(each.parked);
  for (auto& each : fences_)
    remove(each.parked);
}

request_list write_gate::unpark(request_list& from) noexcept {
  for (const auto* r = from.first; r != nullptr; r = r->device.next)
    --parked_;
  return std::exchange(from, {});
}

void write_gate::hold(std::uint64_t sector, std::uint64_t order) {
  holds_.try_emplace(sector).first->second.order = order;
}

void write_gate::take_effect(std::uint64_t sector) noexcept {
  const auto found = holds_.find(sector);
  if (found != holds_.end()) found->second.effective = true;
}

request_list write_gate::release(std::uint64_t sector) noexcept {
  const auto found = holds_.find(sector);
  if (found == holds_.end()) return {};
  const auto woken = unpark(found->second.parked);
  holds_.erase(found);
  return woken;
}

void write_gate::raise_fence(std::uint64_t id, const stretch& bytes) {
  fences_.push_back({id, bytes, {}});
}

request_list write_gate::lower_fence(std::uint64_t id) noexcept {
  for (auto at = fences_.begin(); at != fences_.end(); ++at) {
    if (at->id != id) continue;
    const auto woken = unpark(at->parked);
    fences_.erase(at);
    return woken;
  }
  return {};
}

std::vector<std::uint64_t> write_gate::waiting_holds(const stretch& bytes) const {
  std::vector<std::uint64_t> out;
  if (bytes.empty()) return out;
  for (auto at = holds_.lower_bound(bytes.begin - bytes.begin % sector_size_);
       at != holds_.end() && at->first < bytes.end; ++at)
    if (!at->second.effective) out.push_back(at->first);
  return out;
}

const std::uint64_t* write_gate::waiting_hold(std::uint64_t sector) const noexcept {
  const auto found = holds_.find(sector);
  return found == holds_.end() || found->second.effective ? nullptr : &found->second.order;
}

void write_gate::forget_parked() noexcept {
  for (auto& [sector, each] : holds_)
    each.parked = {};
  for (auto& each : fences_)
    each.parked = {};
  parked_ = 0;
}

void write_gate::clear() noexcept {
  holds_.clear();
  fences_.clear();
  parked_ = 0;
}

}  // namespace xenpv::blkfront
