// One node of the store: value, permissions, names of its children. A value type: storage and
// access checks are elsewhere.
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
  /// Names in order of creation, each followed by a NUL: the payload of DIRECTORY, to which the
  /// offsets of DIRECTORY_PART refer.
  std::string children;
  std::uint64_t generation = 0;  ///< changes with every change of this node
  /// Generation when the permissions were last set. If older than a domain's destruction, entries
  /// for that domain number are void.
  std::uint64_t permissions_generation = 0;

  [[nodiscard]] domid owner() const noexcept { return permissions.front().domain; }
  /// Size in bytes that counts against the quota `node_size`.
  [[nodiscard]] std::size_t accounted_size() const noexcept;

  void add_child(std::string_view name);
  /// False when there is no such child.
  bool remove_child(std::string_view name);
  [[nodiscard]] std::vector<std::string> child_names() const;
};

/// A snapshot of a node: later changes create a new node. Null: no such node.
using store_node_ref = std::shared_ptr<const store_node>;

}  // namespace xenpv::sim
