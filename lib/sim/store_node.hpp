// One node of the store: value, permissions, names of its children. A value type; where nodes are
// kept and who may touch them is decided elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/store_permission.hpp"

namespace xenpv::sim {

struct store_node {
  std::string value;
  std::vector<store_permission> permissions;  ///< never empty; [0] is the owner
  /// Names in order of creation, each followed by a NUL: the payload of DIRECTORY, and what the
  /// offsets of DIRECTORY_PART count in.
  std::string children;
  std::uint64_t generation = 0;  ///< changes with every change of this node
  /// Generation when the permissions were last set; older than a domain's death, an entry for that
  /// number is void.
  std::uint64_t permissions_generation = 0;

  [[nodiscard]] domid owner() const noexcept { return permissions.front().domain; }
  /// Bytes that count against the quota `node_size`.
  [[nodiscard]] std::size_t accounted_size() const noexcept;

  void add_child(std::string_view name);
  /// False when there is no such child.
  bool remove_child(std::string_view name);
  [[nodiscard]] std::vector<std::string> child_names() const;
};

/// A node as it was when looked up: later changes make a new node. Null: there is none.
using store_node_ref = std::shared_ptr<const store_node>;

}  // namespace xenpv::sim
