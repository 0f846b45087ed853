#include "blkfront/layout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "xenpv/blk/page_pool.hpp"
#include "xenpv/ring/blkif_ring.hpp"
#include "xenpv/wire/blkif.hpp"

namespace xenpv::blkfront {
namespace {

constexpr auto direct = static_cast<unsigned>(wire::blkif_max_segments_per_request);

/// Pages must suffice for this many requests of the maximum size: with fewer in flight, the backend
/// would be idle between requests.
constexpr std::size_t large_requests = 4;

/// With fewer pages per queue than this, fewer queues are faster.
constexpr std::size_t pages_worth_a_queue = 64;

/// A page_pool numbers its pages with 16 bits, so pages beyond this limit are not granted.
constexpr std::size_t max_queue_pages = 65'000;

unsigned choose_queues(const backend_offer& offer, const layout_limits& limits, std::size_t budget,
                       unsigned cpus) {
  const auto affordable = static_cast<unsigned>(budget / pages_worth_a_queue);
  const auto queues =
      std::min({offer.max_queues, cpus, limits.queues.value_or(offer.max_queues), affordable});
  return std::max(1U, queues);
}

/// Returns the order of the largest ring with at least two pages per entry. With fewer pages, ring
/// entries would wait for pages.
unsigned choose_order(const backend_offer& offer, const layout_limits& limits, std::size_t pages) {
  const auto limit = std::min({offer.max_ring_page_order, ring::blkif_max_ring_page_order,
                               limits.ring_page_order.value_or(ring::blkif_max_ring_page_order)});
  unsigned order = 0;
  while (order < limit && std::size_t{2} * ring::blkif_ring_entries(order + 1) <= pages)
    ++order;
  return order;
}

unsigned choose_segments(const backend_offer& offer, const layout_limits& limits,
                         std::size_t pages) {
  const auto affordable =
      static_cast<unsigned>(std::min<std::size_t>(pages, 1U << 16) / large_requests);
  const auto available = std::min(offer.max_indirect_segments, affordable);
  const auto segments = std::min(available, limits.segments.value_or(available));
  // Use multiples of eight pages (32 KiB), the usual granularity of file systems and stripes.
  return segments > direct ? std::max(direct + 1, segments / 8 * 8) : direct;
}

/// Returns the number of indirect descriptor pages: enough for twice as many maximum-size requests
/// as fit into the data pages, because most requests are smaller.
std::size_t choose_indirect_pages(unsigned segments, std::size_t pages, unsigned order) {
  if (segments <= direct) return 0;
  constexpr auto per_page = wire::blkif_segments_per_indirect_page;
  const auto pages_per_request = (segments + per_page - 1) / per_page;
  const auto requests = std::clamp<std::size_t>(2 * pages / segments, large_requests,
                                                ring::blkif_ring_entries(order));
  return requests * pages_per_request;
}

static_assert(max_queue_pages < blk::no_page);

}  // namespace

result<layout> choose_layout(const backend_offer& offer, const layout_limits& limits,
                             std::size_t budget, unsigned cpus) {
  if (budget < least_pages)
    return make_error(errc::limit_reached, fmt::format("connect with {} granted pages", budget),
                      fmt::format("at least {} are needed: raise "
                                  "/sys/module/xen_gntalloc/parameters/limit or the page budget",
                                  least_pages));
  layout out;
  out.queues = choose_queues(offer, limits, budget, std::max(1U, cpus));
  const auto pages = std::min(budget / out.queues, max_queue_pages);
  out.ring_page_order = choose_order(offer, limits, pages);
  out.segments = choose_segments(offer, limits, pages - out.ring_pages());
  out.indirect_pages =
      choose_indirect_pages(out.segments, pages - out.ring_pages(), out.ring_page_order);
  out.data_pages = pages - out.ring_pages() - out.indirect_pages;
  return out;
}

std::size_t first_budget(std::size_t limit, std::size_t granted) noexcept {
  const auto taken = granted + reserved_pages(limit);
  const auto left = limit > taken ? limit - taken : 0;
  return std::max(least_pages, left / 2);
}

std::vector<std::size_t> choose_cpus(std::span<const std::size_t> queues, std::size_t count) {
  std::vector<std::size_t> cpus(queues.size());
  std::iota(cpus.begin(), cpus.end(), std::size_t{0});
  const auto has_fewer = [&](std::size_t a, std::size_t b) { return queues[a] < queues[b]; };
  std::stable_sort(cpus.begin(), cpus.end(), has_fewer);
  cpus.resize(std::min(count, cpus.size()));
  return cpus;
}

}  // namespace xenpv::blkfront
