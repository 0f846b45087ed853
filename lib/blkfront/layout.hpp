// How a connection spends granted pages: queues, ring sizes, data and indirect pages, by what the
// backend offers, what the caller allows and how many pages there are. And how several connections
// of one process share pages and CPUs. Pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "blkfront/features.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blkfront {

/// Upper bounds of the caller's, for measuring and for small guests; by default everything the
/// backend offers is used.
struct layout_limits {
  std::optional<unsigned> ring_page_order;
  std::optional<unsigned> queues;
  /// Segments of 4 KiB a request may have; 11 or fewer: no indirect requests.
  std::optional<unsigned> segments;
};

struct layout {
  unsigned queues = 1;
  unsigned ring_page_order = 0;
  unsigned segments = 11;          ///< of the largest request; more than 11: indirect ones are used
  std::size_t data_pages = 0;      ///< of each queue
  std::size_t indirect_pages = 0;  ///< of each queue

  [[nodiscard]] std::size_t ring_pages() const noexcept {
    return std::size_t{1} << ring_page_order;
  }
  [[nodiscard]] std::size_t pages_per_queue() const noexcept {
    return ring_pages() + data_pages + indirect_pages;
  }
  [[nodiscard]] std::size_t pages() const noexcept { return queues * pages_per_queue(); }
  friend bool operator==(const layout&, const layout&) = default;
};

/// Fewest pages a connection works with: a ring of one page, one full direct request, and the pages
/// kept for read-modify-write.
inline constexpr std::size_t least_pages = 16;

/// The layout for `budget` pages and `cpus` CPUs that can own queues. Never needs more than the
/// budget; with less than least_pages an error (errc::limit_reached) that says so.
[[nodiscard]] result<layout> choose_layout(const backend_offer& offer, const layout_limits& limits,
                                           std::size_t budget, unsigned cpus);

/// Pages that no connection asks for by itself, for other users of xen-gntalloc in the guest: an
/// eighth of `limit`.
[[nodiscard]] constexpr std::size_t reserved_pages(std::size_t limit) noexcept {
  return limit / 8;
}

/// Pages for one more connection where nobody but this process uses xen-gntalloc: half of what is
/// left of `limit` beside the reserve and the `granted` pages of the process's other connections,
/// but least_pages at least. So each connection leaves as much to those that come later as it
/// takes.
[[nodiscard]] std::size_t first_budget(std::size_t limit, std::size_t granted) noexcept;

/// The `count` CPUs with the fewest queues; among equals, the first. `queues`: of each CPU. `count`
/// is at most the number of CPUs.
[[nodiscard]] std::vector<std::size_t> choose_cpus(std::span<const std::size_t> queues,
                                                   std::size_t count);

}  // namespace xenpv::blkfront
