#include "sim/store_view.hpp"

#include <algorithm>
#include <utility>

#include "sim/store_path.hpp"

namespace xenpv::sim {

store_view::store_view(store_tree& tree, const store_quota& quota, const store_caller& caller,
                       store_transaction* transaction, const store_change_handler& on_change)
    : tree_(tree),
      quota_(quota),
      caller_(caller),
      transaction_(transaction),
      on_change_(on_change) {}

store_result<store_node_ref> store_view::find(std::string_view path) {
  if (transaction_) return transaction_->find(path);
  return tree_.find(path);
}

store_node& store_view::edit(std::string_view path) {
  return transaction_ ? transaction_->edit(path) : tree_.edit(path);
}

void store_view::report(const store_change& change) {
  if (transaction_) {
    transaction_->note_change(change.path, change.exact);
  } else {
    on_change_(change);
  }
}

bool exceeds_path_limit(const store_quota& quota, const store_caller& caller,
                        std::string_view path) noexcept {
  const bool is_limited = !caller.is_privileged() || quota.limits_paths_of_domain_0;
  return is_limited && accounted_path_length(path) > quota.path_length;
}

store_result<void> store_view::fail(std::errc code) {
  if (transaction_) transaction_->fail();
  return code;
}

std::errc store_view::hide(std::errc code, const std::string& path, const store_rights& required) {
  std::string_view ancestor = path;
  do {
    ancestor = parent_store_path(ancestor);
    const auto node = find(ancestor);
    if (node && *node)
      return tree_.rights(caller_, **node).touch(required) ? code : std::errc::permission_denied;
  } while (ancestor != "/");
  return std::errc::permission_denied;
}

store_result<store_node_ref> store_view::get(const std::string& path,
                                             const store_rights& required) {
  if (!is_valid_store_path(path) || exceeds_path_limit(quota_, caller_, path))
    return std::errc::invalid_argument;
  const auto node = find(path);
  if (!node) return hide(node.error(), path, required);
  if (!*node) return hide(std::errc::no_such_file_or_directory, path, required);
  if (!tree_.rights(caller_, **node).cover(required))
    return hide(std::errc::permission_denied, path, required);
  return *node;
}

bool store_view::is_too_large(std::size_t accounted_size) const {
  return !caller_.is_privileged() && accounted_size >= quota_.node_size;
}

store_result<void> store_view::write(const std::string& path, std::string_view value) {
  std::size_t size = value.size();
  if (const auto node = get(path, right_to_write)) {
    size += (*node)->accounted_size() - (*node)->value.size();
  } else if (node.error() == std::errc::no_such_file_or_directory) {
    return create(path, value);
  } else {
    return node.error();
  }
  if (is_too_large(size)) return fail(std::errc::no_space_on_device);
  auto& changed = edit(path);
  changed.value = value;
  report({.path = path, .node = &changed});
  return {};
}

store_result<void> store_view::make_directory(const std::string& path) {
  const auto node = get(path, right_to_write);
  if (node) return {};
  if (node.error() != std::errc::no_such_file_or_directory) return node.error();
  return create(path, {});
}

bool store_view::has_room_for(const std::vector<std::string>& missing, const store_node& parent,
                              std::string_view value) const {
  const auto name_size = [](const std::string& path) { return leaf_store_name(path).size() + 1; };
  store_node fresh;
  fresh.permissions = parent.permissions;
  const auto empty = fresh.accounted_size();
  // `missing` lists the paths from the new node upwards; each directory stores the name of the node
  // before it in the list.
  bool fits = !is_too_large(empty + value.size()) &&
              !is_too_large(parent.accounted_size() + name_size(missing.back()));
  for (std::size_t i = 0; i + 1 < missing.size(); ++i)
    fits = fits && !is_too_large(empty + name_size(missing[i]));
  return fits;
}

store_result<void> store_view::create(const std::string& path, std::string_view value) {
  std::vector<std::string> missing;
  store_node_ref parent;
  for (std::string_view current = path; !parent; current = parent_store_path(current)) {
    missing.emplace_back(current);
    const auto directory = find(parent_store_path(current));
    if (!directory) return directory.error();
    parent = *directory;
  }
  if (!caller_.is_privileged()) {
    // The commit counts the new nodes of a transaction.
    const auto fresh = transaction_ ? 1 : missing.size();
    if (tree_.node_count(caller_.domain) + fresh > quota_.nodes)
      return std::errc::no_space_on_device;
  }
  if (!has_room_for(missing, *parent, value)) return fail(std::errc::no_space_on_device);

  store_node node;
  node.permissions = parent->permissions;
  node.permissions_generation = parent->permissions_generation;
  if (!caller_.is_privileged()) node.permissions.front().domain = caller_.domain;
  parent.reset();
  std::for_each(missing.rbegin(), missing.rend(), [&](const std::string& level) {
    if (level == path) node.value = value;
    if (transaction_) {
      transaction_->create(level, node);
    } else {
      tree_.create(level, node);
    }
  });
  // Report only the requested node, as xenstored does, not the directories created for it.
  const auto created = find(path);
  report({.path = path, .node = created->get()});
  return {};
}

store_result<void> store_view::list_below(const std::string& top, std::vector<std::string>& order) {
  struct directory {
    std::string path;
    std::vector<std::string> names;
    std::size_t next = 0;
  };
  // Use an explicit stack: paths may be a thousand levels deep.
  std::vector<directory> open;
  auto path = top;
  for (;;) {
    const auto node = find(path);
    if (!node) return node.error();
    // A transaction takes a snapshot of each node at the first access, so a listed child may have
    // been removed.
    if (!*node) return std::errc::io_error;
    open.push_back({.path = std::move(path), .names = (*node)->child_names()});
    while (open.back().next == open.back().names.size()) {
      order.push_back(std::move(open.back().path));
      open.pop_back();
      if (open.empty()) return {};
    }
    auto& parent = open.back();
    path = child_store_path(parent.path, parent.names[parent.next++]);
  }
}

store_result<void> store_view::remove(const std::string& path) {
  const std::string directory(parent_store_path(path));
  if (const auto node = get(path, right_to_write); !node) {
    if (node.error() != std::errc::no_such_file_or_directory) return node.error();
    const auto parent = find(directory);
    if (parent && *parent) return {};
    return node.error();
  }
  if (path == "/") return std::errc::invalid_argument;
  const auto parent = find(directory);
  if (!parent) return parent.error();
  if (!*parent) return std::errc::invalid_argument;

  std::vector<std::string> removed;
  const auto complete = list_below(path, removed);
  // Report the changes before erasing the nodes, because their permissions determine which clients
  // are notified.
  for (const auto& entry : removed)
    report({.path = entry, .node = find(entry)->get(), .exact = entry != path});
  for (const auto& entry : removed) {
    if (transaction_) {
      transaction_->erase(entry);
    } else {
      tree_.erase(entry);
    }
  }
  if (!complete) return complete.error();
  return edit(directory).remove_child(leaf_store_name(path)) ? store_result<void>()
                                                             : std::errc::io_error;
}

store_result<void> store_view::set_permissions(const std::string& path,
                                               const std::vector<store_permission>& list) {
  if (is_special_store_path(path)) {
    if (!caller_.is_privileged() || !tree_.find(path)) return std::errc::invalid_argument;
    tree_.set_permissions(path, list);
    return {};
  }
  const auto node = get(path, right_to_own);
  if (!node) return node.error();
  const auto before = **node;
  if (!caller_.is_privileged() && list.front().domain != before.owner())
    return std::errc::operation_not_permitted;
  const auto permission_bytes = [](const store_node& entry) {
    return entry.accounted_size() - entry.value.size() - entry.children.size();
  };
  store_node fresh;
  fresh.permissions = list;
  if (is_too_large(before.accounted_size() - permission_bytes(before) + permission_bytes(fresh)))
    return fail(std::errc::no_space_on_device);
  if (transaction_) {
    transaction_->set_permissions(path, list);
  } else {
    tree_.set_permissions(path, list);
  }
  const auto changed = find(path);
  report({.path = path, .node = changed->get(), .before = &before});
  return {};
}

void store_view::remove_owned_by(domid owner) {
  std::vector<std::string> open{"/"};
  while (!open.empty()) {
    const auto path = std::move(open.back());
    open.pop_back();
    const auto node = tree_.find(path);
    if (!node) continue;
    if (node->owner() == owner && path != "/") {
      // Every node except the root can be removed, and the root is excluded here, so this cannot
      // fail.
      static_cast<void>(remove(path));
      continue;
    }
    const auto names = node->child_names();
    std::for_each(names.rbegin(), names.rend(),
                  [&](const auto& name) { open.push_back(child_store_path(path, name)); });
  }
}

}  // namespace xenpv::sim
