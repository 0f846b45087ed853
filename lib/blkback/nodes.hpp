// The contents of a xenstore directory: relative names ("queue-0/ring-ref") and their values.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace xenpv::blkback {

using nodes = std::map<std::string, std::string, std::less<>>;

[[nodiscard]] inline std::optional<std::string_view> find(const nodes& directory,
                                                          std::string_view name) {
  const auto entry = directory.find(name);
  if (entry == directory.end()) return std::nullopt;
  return entry->second;
}

/// A node to write. The nodes of a node_list are written in list order.
struct node {
  std::string name;
  std::string value;
  friend bool operator==(const node&, const node&) = default;
};
using node_list = std::vector<node>;

}  // namespace xenpv::blkback
