// Untrusted xenstore nodes of a block backend: the values that the frontend uses stay within
// bounds, and errors name the node.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "blkfront/features.hpp"
#include "blkfront/layout.hpp"
#include "blkfront/planner.hpp"
#include "fuzz/steps.hpp"

namespace {

using namespace xenpv;
using namespace xenpv::blkfront;
using fuzz::expect;
using fuzz::input;

void check_layout(const backend_offer& offer, input& source) {
  expect(offer.max_ring_page_order <= 4 && offer.max_queues >= 1 && offer.max_queues <= 64);
  expect(offer.max_indirect_segments <= 4096);
  layout_limits limits;
  const auto present = source.byte();
  if ((present & 1U) != 0) limits.queues = source.byte();
  if ((present & 2U) != 0) limits.ring_page_order = source.byte();
  if ((present & 4U) != 0) limits.segments = source.word();
  const std::size_t budget = std::size_t{source.word()} << (source.byte() % 6);
  const auto plan = choose_layout(offer, limits, budget, source.byte());
  expect(plan.has_value() == (budget >= least_pages));
  if (!plan) return;
  expect(plan->pages() <= budget && plan->queues >= 1 && plan->queues <= offer.max_queues);
  expect(plan->ring_page_order <= offer.max_ring_page_order);
  expect(plan->segments == 11 ||
         (plan->segments > 11 && plan->segments <= offer.max_indirect_segments));
  expect((plan->segments > 11) == (plan->indirect_pages > 0));
  // The engine reserves two pages, and needs the eleven pages of one direct request.
  expect(plan->data_pages >= 13 && plan->data_pages < 65535 && plan->indirect_pages < 65535);
}

void check_properties(const backend_properties& disk, input& source) {
  const auto& shape = disk.shape;
  const auto sector = shape.sector_size;
  expect(sector == 512 || sector == 1024 || sector == 2048 || sector == 4096);
  expect(disk.unit == 512 || disk.unit == sector);
  expect(shape.size % sector == 0 && shape.size <= (std::uint64_t{1} << 63U) - 1);
  if (!shape.can_discard) return;
  expect(shape.discard_granularity >= sector && shape.discard_granularity % sector == 0);
  expect(shape.discard_alignment < shape.discard_granularity &&
         shape.discard_alignment % sector == 0);
  if (shape.size == 0) return;
  const auto number = [&] { return std::uint64_t{source.word()} << (source.byte() % 48); };
  const auto begin = number() % shape.size;
  const stretch bytes{begin, begin + number() % (shape.size - begin + 1)};
  const auto sent = plan_discard(bytes, shape.discard_granularity, shape.discard_alignment);
  if (sent.empty()) return;
  expect(sent.begin >= bytes.begin && sent.end <= bytes.end);
  expect(sent.begin % sector == 0 && sent.end % sector == 0);
}

void read_nodes(input& source) {
  node_map nodes;
  for (auto count = source.byte() % 24U; count > 0; --count) {
    const auto name = backend_nodes()[source.byte() % backend_nodes().size()];
    nodes[std::string(name)] = source.text(source.byte() % 24U);
  }
  if (const auto offer = parse_offer(nodes))
    check_layout(*offer, source);
  else
    expect(offer.error().text.starts_with("backend node "));
  constexpr std::array<std::string_view, 3> kinds = {"vbd", "qdisk", ""};
  const auto kind = kinds[source.byte() % kinds.size()];
  const auto* const type = (source.byte() & 1U) != 0 ? "disk" : "cdrom";
  if (const auto disk = parse_properties(nodes, kind, type, 1 + source.byte() % 2U))
    check_properties(*disk, source);
  else
    expect(disk.error().text.starts_with("backend node "));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  input source({data, size});
  read_nodes(source);
  return 0;
}
