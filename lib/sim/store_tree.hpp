// All nodes of the store, and how many each domain owns.
//
// Owned by the store service. Knows no callers and no quotas: those are store_view's. Nodes are
// shared with readers and open transactions and copied only when one of them still holds the old
// state.
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
  /// What the daemon starts with, owned by domain 0 and closed to others: "/", "/tool",
  /// "/tool/xenstored", and outside of the tree "@introduceDomain" and "@releaseDomain".
  store_tree();

  [[nodiscard]] store_node_ref find(std::string_view path) const;
  /// The node to be changed, with a new generation. The path must exist.
  [[nodiscard]] store_node& edit(std::string_view path);
  /// The parent must exist and gets its new child's name.
  void create(const std::string& path, store_node node);
  /// Of an existing node.
  void set_permissions(std::string_view path, std::vector<store_permission> list);
  /// Removes one node. Its parent's entry and its children are the caller's care.
  void erase(std::string_view path);

  /// Puts a transaction's node in place, or removes it when null; otherwise like erase.
  void adopt(const std::string& path, std::shared_ptr<store_node> node);

  [[nodiscard]] std::uint64_t next_generation() noexcept { return ++generation_; }
  [[nodiscard]] std::size_t node_count(domid owner) const;

  /// From now on a domain of this number is another one: permissions given to the old one are void.
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
