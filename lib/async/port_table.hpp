// Maps port numbers to entries, with one indexed load per event. Does not own the entries. Port
// numbers are small and dense, so an array is faster than a hash table.
#pragma once

#include <cstddef>
#include <vector>

#include "xenpv/base/types.hpp"

namespace xenpv::async {

/// The number of ports in the FIFO ABI (event_channel.h EVTCHN_FIFO_NR_CHANNELS); the 2-level ABI
/// has fewer.
inline constexpr std::uint32_t port_limit = 1U << 17;

template <class Entry>
class port_table {
 public:
  /// Returns nullptr if port `number` is not bound. `number` may be out of range.
  [[nodiscard]] Entry* find(port number) const noexcept {
    const std::size_t index = raw(number);
    return index < entries_.size() ? entries_[index] : nullptr;
  }

  /// Returns false if the number is not a valid port number or is already in use.
  [[nodiscard]] bool insert(port number, Entry& entry) {
    const std::size_t index = raw(number);
    if (index == 0 || index >= port_limit || find(number) != nullptr) return false;
    if (index >= entries_.size()) entries_.resize(index + 1);
    entries_[index] = &entry;
    return true;
  }

  void erase(port number) noexcept {
    if (find(number) != nullptr) entries_[raw(number)] = nullptr;
  }

  /// Empties the table and returns its entries in numerical order.
  [[nodiscard]] std::vector<Entry*> take_all() {
    std::vector<Entry*> all;
    for (auto* entry : entries_) {
      if (entry != nullptr) all.push_back(entry);
    }
    entries_.clear();
    return all;
  }

 private:
  std::vector<Entry*> entries_;
};

}  // namespace xenpv::async
