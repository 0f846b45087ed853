// The store as seen by one caller, with or without a transaction. Checks permissions and quotas,
// and hides the existence of nodes that the caller cannot access.
//
// Created for one request and then destroyed. Paths are absolute (store_path.hpp). Follows C
// xenstored 4.17, including the requests it rejects and their errno values.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/store_change.hpp"
#include "sim/store_quota.hpp"
#include "sim/store_transaction.hpp"
#include "sim/store_tree.hpp"

namespace xenpv::sim {

/// Returns true if xenstored rejects `path` because of its length.
[[nodiscard]] bool exceeds_path_limit(const store_quota& quota, const store_caller& caller,
                                      std::string_view path) noexcept;

class store_view {
 public:
  /// All arguments must outlive the view. Without a transaction, changes take effect and are
  /// reported to `on_change` immediately; with one, when it is committed.
  store_view(store_tree& tree, const store_quota& quota, const store_caller& caller,
             store_transaction* transaction, const store_change_handler& on_change);

  /// Returns the node if it exists and the caller has the required rights. Otherwise, returns the
  /// actual error if the caller has one of these rights on the nearest existing ancestor, and
  /// permission_denied if not.
  [[nodiscard]] store_result<store_node_ref> get(const std::string& path,
                                                 const store_rights& required);
  /// Writes the value. Creates missing parents with empty values.
  [[nodiscard]] store_result<void> write(const std::string& path, std::string_view value);
  [[nodiscard]] store_result<void> make_directory(const std::string& path);
  /// Removes the node and its subtree; ignores the children's permissions. Removing an absent node
  /// succeeds if its directory exists.
  [[nodiscard]] store_result<void> remove(const std::string& path);
  [[nodiscard]] store_result<void> set_permissions(const std::string& path,
                                                   const std::vector<store_permission>& list);
  /// Removes every node that `owner` owns, together with its subtree, even if other domains own
  /// nodes in that subtree.
  void remove_owned_by(domid owner);

 private:
  [[nodiscard]] store_result<store_node_ref> find(std::string_view path);
  [[nodiscard]] store_node& edit(std::string_view path);
  [[nodiscard]] std::errc hide(std::errc code, const std::string& path,
                               const store_rights& required);
  [[nodiscard]] store_result<void> create(const std::string& path, std::string_view value);
  [[nodiscard]] bool has_room_for(const std::vector<std::string>& missing, const store_node& parent,
                                  std::string_view value) const;
  [[nodiscard]] bool is_too_large(std::size_t accounted_size) const;
  /// Appends the paths below `top` and `top` itself to `order`, children before their directories.
  /// Stops at the first path whose lookup fails.
  [[nodiscard]] store_result<void> list_below(const std::string& top,
                                              std::vector<std::string>& order);
  [[nodiscard]] store_result<void> fail(std::errc code);
  void report(const store_change& change);

  store_tree& tree_;
  const store_quota& quota_;
  const store_caller caller_;
  store_transaction* transaction_;
  const store_change_handler& on_change_;
};

}  // namespace xenpv::sim
