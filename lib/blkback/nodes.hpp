// A directory of xenstore as values: names relative to it ("queue-0/ring-ref"), and what they hold.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace xenpv::blkback {

using nodes = std::map<std::string, std::string, std::less<>>;

[[nodiscard]] inline std::optional<std::string_view> find(const nodes& in, std::string_view name) {
  const auto found = in.find(name);
  if (found == in.end()) return std::nullopt;
  return found->second;
}

/// Nodes to write, in this order.
struct node {
  std::string name;
  std::string value;
  friend bool operator==(const node&, const node&) = default;
};
using node_list = std::vector<node>;

}  // namespace xenpv::blkback
