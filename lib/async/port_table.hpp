// Port number -> what is bound there, in one indexed load per event. Owns nothing.
// The numbers are the hypervisor's, small and dense, so an array beats any hash.
#pragma once

#include <cstddef>
#include <vector>

#include "xenpv/base/types.hpp"

namespace xenpv::async {

/// Ports of the FIFO ABI (event_channel.h EVTCHN_FIFO_NR_CHANNELS); the 2-level ABI has fewer.
inline constexpr std::uint32_t port_limit = 1U << 17;

template <class Entry>
class port_table {
 public:
  /// nullptr when nothing is bound there, however large the number is.
  [[nodiscard]] Entry* find(port number) const noexcept {
    const std::size_t at = raw(number);
    return at < entries_.size() ? entries_[at] : nullptr;
  }

  /// False when the number is not a possible port, or is taken.
  [[nodiscard]] bool insert(port number, Entry& entry) {
    const std::size_t at = raw(number);
    if (at == 0 || at >= port_limit || find(number) != nullptr) return false;
    if (at >= entries_.size()) entries_.resize(at + 1);
    entries_[at] = &entry;
    return true;
  }

  void erase(port number) noexcept {
    if (find(number) != nullptr) entries_[raw(number)] = nullptr;
  }

  /// Empties the table and returns what was in it, by number.
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
