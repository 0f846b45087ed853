#include "sim/store_tree.hpp"

#include <utility>

#include "sim/store_path.hpp"

namespace xenpv::sim {

store_tree::store_tree() {
  const auto closed = [this] {
    store_node node;
    node.permissions = {{.domain = domid_0}};
    node.generation = node.permissions_generation = next_generation();
    return node;
  };
  adopt("/", std::make_shared<store_node>(closed()));
  create("/tool", closed());
  create("/tool/xenstored", closed());
  adopt("@introduceDomain", std::make_shared<store_node>(closed()));
  adopt("@releaseDomain", std::make_shared<store_node>(closed()));
}

store_node_ref store_tree::find(std::string_view path) const {
  const auto entry = nodes_.find(path);
  return entry == nodes_.end() ? nullptr : entry->second;
}

store_node& store_tree::edit(std::string_view path) {
  auto& node = nodes_.find(path)->second;
  if (node.use_count() > 1) node = std::make_shared<store_node>(*node);
  node->generation = next_generation();
  return *node;
}

void store_tree::create(const std::string& path, store_node node) {
  edit(parent_store_path(path)).add_child(leaf_store_name(path));
  adopt(path, std::make_shared<store_node>(std::move(node)));
}

void store_tree::set_permissions(std::string_view path, std::vector<store_permission> list) {
  auto& node = edit(path);
  count(node.owner(), -1);
  node.permissions = std::move(list);
  node.permissions_generation = node.generation;
  count(node.owner(), +1);
}

void store_tree::erase(std::string_view path) {
  adopt(std::string(path), nullptr);
}

void store_tree::adopt(const std::string& path, std::shared_ptr<store_node> node) {
  const auto old = nodes_.find(path);
  if (old != nodes_.end()) count(old->second->owner(), -1);
  if (!node) {
    if (old != nodes_.end()) nodes_.erase(old);
    return;
  }
  node->generation = next_generation();
  count(node->owner(), +1);
  if (old != nodes_.end()) {
    old->second = std::move(node);
  } else {
    nodes_.emplace(path, std::move(node));
  }
}

std::size_t store_tree::node_count(domid owner) const {
  const auto entry = owned_.find(owner);
  return entry == owned_.end() ? 0 : entry->second;
}

std::size_t store_tree::memory_use(domid owner) const {
  std::size_t bytes = 0;
  for (const auto& [path, node] : nodes_)
    if (node->owner() == owner) bytes += path.size() + node->accounted_size();
  return bytes;
}

void store_tree::forget(domid domain) {
  forgotten_[domain] = next_generation();
}

store_rights store_tree::rights(const store_caller& caller, const store_node& node) const {
  if (caller.is_privileged() || caller.acts_for(node.owner()))
    return {.read = true, .write = true, .own = true};
  const auto& list = node.permissions;
  for (std::size_t i = 1; i < list.size(); ++i) {
    if (!caller.acts_for(list[i].domain)) continue;
    const auto death = forgotten_.find(list[i].domain);
    if (death != forgotten_.end() && death->second > node.permissions_generation) continue;
    return {.read = list[i].read, .write = list[i].write};
  }
  return {.read = list.front().read, .write = list.front().write};
}

void store_tree::count(domid owner, int change) {
  auto& number = owned_[owner];
  number = change > 0 ? number + 1 : number - 1;
}

}  // namespace xenpv::sim
