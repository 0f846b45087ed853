// One open transaction: the nodes that it has accessed, and its changes to them.
//
// Owned by the connection that started it. As in C xenstored, a node is snapshotted when the
// transaction first accesses it, not when the transaction starts, and the commit fails if any of
// these nodes has changed since then. Does not check permissions; store_view does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sim/store_change.hpp"
#include "sim/store_tree.hpp"

namespace xenpv::sim {

class store_transaction {
 public:
  /// `tree` must outlive the transaction. `node_limit` is the maximum number of nodes that the
  /// transaction may access.
  explicit store_transaction(store_tree& tree, std::optional<std::size_t> node_limit = {});

  // The operations of store_tree, applied to the transaction's own state. find() returns
  // no_space_on_device if the node limit is reached; the transaction can then only be aborted. The
  // other functions require that find() was called for the path.
  [[nodiscard]] store_result<store_node_ref> find(std::string_view path);
  [[nodiscard]] store_node& edit(std::string_view path);
  void create(const std::string& path, store_node node);
  void set_permissions(std::string_view path, std::vector<store_permission> list);
  void erase(std::string_view path);

  /// Returns the node as the transaction sees it if the transaction has accessed it, otherwise
  /// null.
  [[nodiscard]] store_node_ref peek(std::string_view path) const;
  /// Returns the number of nodes that the transaction has accessed.
  [[nodiscard]] std::size_t accessed_nodes() const noexcept { return touched_.size(); }

  /// Reports `path` to the watches when the transaction is committed. A non-exact change overrides
  /// an exact one.
  void note_change(std::string_view path, bool exact);
  /// Makes the commit fail with not_enough_memory, like the daemon after a partially failed
  /// operation.
  void fail() noexcept { failed_ = true; }
  /// Must be called when the domain is restored: the transaction can then only be ended.
  void lose() noexcept { lost_ = true; }
  [[nodiscard]] bool is_lost() const noexcept { return lost_; }

  /// Applies the changes and reports them. If this fails, the store is unchanged. Returns
  /// resource_unavailable_try_again after a conflict, and no_space_on_device if a domain would own
  /// `node_quota` nodes or more.
  [[nodiscard]] store_result<void> commit(std::optional<std::size_t> node_quota,
                                          const store_change_handler& on_change);

 private:
  struct touched_node {
    std::string path;
    store_node_ref seen;              ///< the node at the first access; null: absent
    std::shared_ptr<store_node> own;  ///< the node as changed by the transaction
    bool erased = false;
    bool notify = false;
    bool exact = true;

    [[nodiscard]] bool is_modified() const noexcept { return own || erased; }
    [[nodiscard]] store_node_ref current() const;
  };

  [[nodiscard]] touched_node& touched(std::string_view path);
  [[nodiscard]] bool has_conflict() const;
  [[nodiscard]] bool exceeds(std::size_t node_quota) const;

  store_tree& tree_;
  std::optional<std::size_t> node_limit_;
  std::deque<touched_node> touched_;
  std::unordered_map<std::string_view, std::size_t> index_;  ///< keys point into touched_
  std::unordered_map<domid, std::ptrdiff_t> ownership_;      ///< delta of each domain's node count
  bool created_ = false;
  bool failed_ = false;
  bool lost_ = false;
};

}  // namespace xenpv::sim
