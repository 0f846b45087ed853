// One node of the store: its value, its permissions and the names of its children. A plain value:
// store_tree.hpp stores nodes, and store_view.hpp checks access.
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
  /// Names of the children in order of creation, each followed by a NUL. This is the payload of a
  /// DIRECTORY reply; the offsets of DIRECTORY_PART requests refer to it.
  std::string children;
  std::uint64_t generation = 0;  ///< updated by every change of this node
  /// The node's generation when its permissions were last set. Permissions for a domain that was
  /// destroyed since then are void.
  std::uint64_t permissions_generation = 0;

  [[nodiscard]] domid owner() const noexcept { return permissions.front().domain; }
  /// Size that counts against the `node_size` quota, in bytes.
  [[nodiscard]] std::size_t accounted_size() const noexcept;

  void add_child(std::string_view name);
  /// Returns false if there is no such child.
  bool remove_child(std::string_view name);
  [[nodiscard]] std::vector<std::string> child_names() const;
};

/// A snapshot of a node: later changes create a new node. Null: the node does not exist.
using store_node_ref = std::shared_ptr<const store_node>;

}  // namespace xenpv::sim
