// Resources that the frontends of one session share: CPUs, and granted pages, which other programs
// in the guest also use. Each frontend owns a share, which records its usage.
//
// Used on the control thread. A session's account exists as long as any of the session's shares.
// Pages are granted here only briefly in order to find out how many are free.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "xenpv/async/guest_session.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::blkfront {

class resource_share {
 public:
  explicit resource_share(async::guest_session& session);
  ~resource_share();
  resource_share(const resource_share&) = delete;
  resource_share& operator=(const resource_share&) = delete;

  /// Selects the `count` CPUs with the fewest queues and returns their indices in the session.
  /// `count` must be at most guest_session::cpus(). The CPUs count as used until give_cpus_back().
  [[nodiscard]] std::vector<std::size_t> take_cpus(std::size_t count);
  void give_cpus_back() noexcept;

  /// The number of pages for one more disk: half of xen-gntalloc's free pages, minus a reserve for
  /// other users (layout.hpp). Linux does not expose the number of pages in use. This function
  /// therefore briefly grants twice the budget to `backend` and reduces the budget until that
  /// succeeds.
  [[nodiscard]] std::size_t page_budget(domid backend) const;
  /// Records the number of pages that this frontend has granted.
  void set_pages(std::size_t pages) noexcept;

 private:
  struct account;
  class service;

  std::shared_ptr<account> account_;
  std::vector<std::size_t> cpus_;
  std::size_t pages_ = 0;
};

}  // namespace xenpv::blkfront
