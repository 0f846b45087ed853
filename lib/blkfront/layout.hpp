// Divides granted pages into queues, rings, data and indirect pages, within the backend's offer,
// the caller's limits and the page budget. Also divides pages and CPUs among the connections of one
// process. Pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "blkfront/features.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blkfront {

/// Upper bounds set by the caller, for measurements and small guests. By default, everything that
/// the backend offers is used.
struct layout_limits {
  std::optional<unsigned> ring_page_order;
  std::optional<unsigned> queues;
  /// 4 KiB segments per request; up to 11, indirect requests are not used.
  std::optional<unsigned> segments;
};

struct layout {
  unsigned queues = 1;
  unsigned ring_page_order = 0;
  unsigned segments = 11;          ///< maximum segments per request; indirect requests if above 11
  std::size_t data_pages = 0;      ///< per queue
  std::size_t indirect_pages = 0;  ///< per queue

  [[nodiscard]] std::size_t ring_pages() const noexcept {
    return std::size_t{1} << ring_page_order;
  }
  [[nodiscard]] std::size_t pages_per_queue() const noexcept {
    return ring_pages() + data_pages + indirect_pages;
  }
  [[nodiscard]] std::size_t pages() const noexcept { return queues * pages_per_queue(); }
  friend bool operator==(const layout&, const layout&) = default;
};

/// The minimum number of pages for a connection: a ring of one page, one full direct request, and
/// the pages reserved for read-modify-write.
inline constexpr std::size_t least_pages = 16;

/// Returns the layout for `budget` pages and `cpus` CPUs that can own queues. Never exceeds the
/// budget. Returns errc::limit_reached if the budget is below least_pages.
[[nodiscard]] result<layout> choose_layout(const backend_offer& offer, const layout_limits& limits,
                                           std::size_t budget, unsigned cpus);

/// Pages reserved for other users of xen-gntalloc in the guest: an eighth of `limit`.
[[nodiscard]] constexpr std::size_t reserved_pages(std::size_t limit) noexcept {
  return limit / 8;
}

/// The number of pages for one more connection if only this process uses xen-gntalloc: `limit`
/// minus the reserve and the pages already `granted` to other connections, divided by two, but at
/// least least_pages. Each connection thus leaves as many pages to later connections as it takes.
[[nodiscard]] std::size_t first_budget(std::size_t limit, std::size_t granted) noexcept;

/// Returns the `count` CPUs with the fewest queues; the lowest index wins a tie. `queues` contains
/// the number of queues on each CPU. `count` must be at most the number of CPUs.
[[nodiscard]] std::vector<std::size_t> choose_cpus(std::span<const std::size_t> queues,
                                                   std::size_t count);

}  // namespace xenpv::blkfront
