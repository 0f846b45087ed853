// The store as one caller sees it, inside a transaction or not: permissions, hiding, quotas.
//
// Made for one request and thrown away. Paths are absolute (store_path.hpp). Follows C
// xenstored 4.17, in what it refuses and with which errno too.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/store_change.hpp"
#include "sim/store_quota.hpp"
#include "sim/store_transaction.hpp"
#include "sim/store_tree.hpp"

namespace xenpv::sim {

class store_view {
 public:
  /// All of them must outlive the view. Without a transaction, changes take effect and are reported
  /// to `on_change` at once; with one, both wait for its commit.
  store_view(store_tree& tree, const store_quota& quota, const store_caller& caller,
             store_transaction* transaction, const store_change_handler& on_change);

  /// The node, if it exists and the caller has the wanted rights. Otherwise the caller learns the
  /// reason only if it has one of the rights on the nearest existing parent; if not it is told
  /// permission_denied.
  [[nodiscard]] store_result<store_node_ref> get(const std::string& path,
                                                 const store_rights& wanted);
  /// Creates missing parents with empty values.
  [[nodiscard]] store_result<void> write(const std::string& path, std::string_view value);
  [[nodiscard]] store_result<void> make_directory(const std::string& path);
  /// With everything below; the children's own permissions do not matter. Removing what is absent
  /// succeeds if its directory exists.
  [[nodiscard]] store_result<void> remove(const std::string& path);
  [[nodiscard]] store_result<void> set_permissions(const std::string& path,
                                                   const std::vector<store_permission>& list);
  /// Removes every node of `owner` with everything below it, whoever owns that.
  void remove_owned_by(domid owner);

 private:
  [[nodiscard]] store_result<store_node_ref> find(std::string_view path);
  [[nodiscard]] store_node& edit(std::string_view path);
  [[nodiscard]] std::errc hide(std::errc why, const std::string& path, const store_rights& wanted);
  [[nodiscard]] store_result<void> create(const std::string& path, std::string_view value);
  [[nodiscard]] bool has_room_for(const std::vector<std::string>& missing, const store_node& parent,
                                  std::string_view value) const;
  [[nodiscard]] bool is_too_large(std::size_t accounted_size) const;
  /// Appends the paths below `top` and `top` itself, children before their directories; up to the
  /// first that cannot be looked up.
  [[nodiscard]] store_result<void> list_below(const std::string& top,
                                              std::vector<std::string>& order);
  [[nodiscard]] store_result<void> fail(std::errc why);
  void report(const store_change& change);

  store_tree& tree_;
  const store_quota& quota_;
  const store_caller caller_;
  store_transaction* transaction_;
  const store_change_handler& on_change_;
};

}  // namespace xenpv::sim
