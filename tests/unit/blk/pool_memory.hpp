// Page pools for tests, and a waiter that records its wake-ups.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "xenpv/blk/page_pool.hpp"

namespace xenpv::blk::test {

inline std::shared_ptr<page_pool> make_pool(std::size_t pages) {
  auto memory = std::make_shared<std::vector<std::byte>>(pages * page_size);
  return std::make_shared<page_pool>(*memory, memory);
}

/// Returns the pages of a chain, in order.
inline std::vector<int> list(const page_pool& pool, const page_chain& chain) {
  std::vector<int> pages;
  for (auto page = chain.first; page != no_page; page = pool.next(page))
    pages.push_back(page);
  return pages;
}

struct recording_waiter : page_waiter {
  recording_waiter(std::string& output, char name, std::function<void()> on_wake = {})
      : page_waiter{.wake = &record, .next = nullptr, .waiting = false},
        record_(output),
        name_(name),
        on_wake_(std::move(on_wake)) {}

 private:
  static void record(page_waiter& waiter) {
    auto& self = static_cast<recording_waiter&>(waiter);
    self.record_ += self.name_;
    if (self.on_wake_) self.on_wake_();
  }

  std::string& record_;
  char name_;
  std::function<void()> on_wake_;
};

}  // namespace xenpv::blk::test
