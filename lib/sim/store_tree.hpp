// All nodes of the store, and the number of nodes that each domain owns.
//
// Owned by the store service. Does not check permissions or quotas; store_view does. Readers and
// open transactions share nodes with the tree; a change copies a node only if a reader or a
// transaction still refers to the node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sim/store_node.hpp"

namespace xenpv::sim {

class store_tree {
 public:
  /// Creates the daemon's initial nodes, which only domain 0 can access: "/", "/tool",
  /// "/tool/xenstored" and, outside the tree, "@introduceDomain" and "@releaseDomain".
  store_tree();

  [[nodiscard]] store_node_ref find(std::string_view path) const;
  /// Returns the node for modification, with a new generation. The path must exist.
  [[nodiscard]] store_node& edit(std::string_view path);
  /// Adds the node, and its name to the parent, which must exist.
  void create(const std::string& path, store_node node);
  /// The node must exist.
  void set_permissions(std::string_view path, std::vector<store_permission> list);
  /// Removes one node. The caller removes the parent's entry and the children.
  void erase(std::string_view path);

  /// Installs a transaction's node; if `node` is null, removes the node. As for erase(), the caller
  /// updates the parent's entry and the children.
  void adopt(const std::string& path, std::shared_ptr<store_node> node);

  [[nodiscard]] std::uint64_t next_generation() noexcept { return ++generation_; }
  [[nodiscard]] std::size_t node_count(domid owner) const;
  /// Returns the bytes that the owner's nodes take, including their paths. Visits every node.
  [[nodiscard]] std::size_t memory_use(domid owner) const;

  /// Must be called when a domain is destroyed: voids its permissions, so that a later domain with
  /// the same ID does not inherit them.
  void forget(domid domain);
  [[nodiscard]] store_rights rights(const store_caller& caller, const store_node& node) const;

 private:
  struct path_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };

  void count(domid owner, int change);

  std::unordered_map<std::string, std::shared_ptr<store_node>, path_hash, std::equal_to<>> nodes_;
  std::unordered_map<domid, std::size_t> owned_;
  std::unordered_map<domid, std::uint64_t> forgotten_;
  std::uint64_t generation_ = 0;
};

}  // namespace xenpv::sim
