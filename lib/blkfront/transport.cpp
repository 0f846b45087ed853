#include "blkfront/transport.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

#include "xenpv/wire/blkif.hpp"

namespace xenpv::blkfront {
namespace {

using node_list = std::vector<std::pair<std::string, std::string>>;

void add_queue(node_list& out, const queue_transport& queue, const std::string& prefix) {
  if (queue.ring.size() == 1) {
    out.emplace_back(prefix + "ring-ref", fmt::format("{}", queue.ring.front()));
  } else {
    for (std::size_t i = 0; i < queue.ring.size(); ++i)
      out.emplace_back(fmt::format("{}ring-ref{}", prefix, i), fmt::format("{}", queue.ring[i]));
  }
  out.emplace_back(prefix + "event-channel", fmt::format("{}", queue.event_channel));
}

}  // namespace

node_list transport_nodes(std::span<const queue_transport> queues,
                          const transport_options& options) {
  node_list out;
  const auto pages = queues.front().ring.size();
  // Omit this node for a single-page ring: with a value of 0, some backends expect ring-ref0 and
  // others ring-ref.
  if (pages > 1) out.emplace_back("ring-page-order", fmt::format("{}", std::bit_width(pages) - 1));
  if (queues.size() == 1) {
    add_queue(out, queues.front(), "");
  } else {
    out.emplace_back("multi-queue-num-queues", fmt::format("{}", queues.size()));
    for (std::size_t i = 0; i < queues.size(); ++i)
      add_queue(out, queues[i], fmt::format("queue-{}/", i));
  }
  // Without this node, x86 backends assume the 32-bit layout.
  out.emplace_back("protocol", std::string(wire::blkif_protocol_native));
  out.emplace_back("feature-persistent", options.persistent ? "1" : "0");
  if (options.large_sectors) out.emplace_back("feature-large-sector-size", "1");
  return out;
}

bool is_transport_node(std::string_view name) noexcept {
  constexpr std::array<std::string_view, 7> exact = {
      "ring-page-order",          "num-ring-pages", "event-channel",
      "multi-queue-num-queues",   "protocol",       "feature-persistent",
      "feature-large-sector-size"};
  return std::find(exact.begin(), exact.end(), name) != exact.end() ||
         name.starts_with("ring-ref") || name.starts_with("queue-");
}

}  // namespace xenpv::blkfront
