// What the frontends of one runtime share: granted pages, which all programs of the guest share,
// too, and CPUs. Each frontend has a share of it, which says what it took.
//
// On the control thread. The account lives as long as any share or the control context does. Grants
// nothing itself, except to find out how many pages are free.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "xenpv/async/runtime.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::blkfront {

class resource_share {
 public:
  explicit resource_share(async::runtime& runtime);
  ~resource_share();
  resource_share(const resource_share&) = delete;
  resource_share& operator=(const resource_share&) = delete;

  /// `count` different CPUs, by their index in the runtime: those with the fewest queues. `count`
  /// is at most runtime::cpus(). They count as used until give_cpus_back().
  [[nodiscard]] std::vector<std::size_t> take_cpus(std::size_t count);
  void give_cpus_back() noexcept;

  /// Pages for one more disk: half of those that xen-gntalloc has free, less a reserve for other
  /// users (layout.hpp). Linux counts the pages in use and shows the number nowhere, so this grants
  /// to `backend` what half of the pages is half of, for a moment, until that works.
  [[nodiscard]] std::size_t page_budget(domid backend) const;
  /// What this frontend has granted from now on.
  void set_pages(std::size_t pages) noexcept;

 private:
  struct account;
  class service;

  std::shared_ptr<account> account_;
  std::vector<std::size_t> cpus_;
  std::size_t pages_ = 0;
};

}  // namespace xenpv::blkfront
