// A FIFO of requests, linked through request::device_part::next. A request can be in only one list
// at a time. The list does not own the requests or allocate memory.
#pragma once

#include <utility>

#include "xenpv/blk/request.hpp"

namespace xenpv::blkfront {

struct request_list {
  blk::request* first = nullptr;
  blk::request* last = nullptr;

  [[nodiscard]] bool empty() const noexcept { return first == nullptr; }
  void push(blk::request& r) noexcept {
    r.device.next = nullptr;
    (last == nullptr ? first : last->device.next) = &r;
    last = &r;
  }
  void push_front(blk::request& r) noexcept {
    r.device.next = first;
    first = &r;
    if (last == nullptr) last = &r;
  }
  blk::request* pop() noexcept {
    auto* const r = first;
    if (r == nullptr) return nullptr;
    first = std::exchange(r->device.next, nullptr);
    if (first == nullptr) last = nullptr;
    return r;
  }
  void prepend(request_list other) noexcept {
    if (other.empty()) return;
    other.last->device.next = first;
    if (last == nullptr) last = other.last;
    first = other.first;
  }
  /// Returns false if `r` was not in the list.
  bool remove(const blk::request& r) noexcept {
    bool removed = false;
    for (auto list = std::exchange(*this, {}); auto* const queued = list.pop();) {
      if (queued == &r)
        removed = true;
      else
        push(*queued);
    }
    return removed;
  }
};

}  // namespace xenpv::blkfront
