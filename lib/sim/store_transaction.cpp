#include "sim/store_transaction.hpp"

#include <algorithm>
#include <utility>

#include "sim/store_path.hpp"

namespace xenpv::sim {

store_transaction::store_transaction(store_tree& tree, std::optional<std::size_t> node_limit)
    : tree_(tree), node_limit_(node_limit) {}

store_node_ref store_transaction::touched_node::current() const {
  if (erased) return nullptr;
  return own ? own : seen;
}

store_transaction::touched_node& store_transaction::touched(std::string_view path) {
  return touched_[index_.at(path)];
}

store_result<store_node_ref> store_transaction::find(std::string_view path) {
  if (const auto known = index_.find(path); known != index_.end())
    return touched_[known->second].current();
  if (node_limit_ && touched_.size() >= *node_limit_) {
    failed_ = true;
    return std::errc::no_space_on_device;
  }
  // touched_ is a deque because index_ refers to the path inside the entry, which must not move.
  auto& entry = touched_.emplace_back();
  entry.path = path;
  entry.seen = tree_.find(path);
  index_.emplace(entry.path, touched_.size() - 1);
  return entry.current();
}

store_node_ref store_transaction::peek(std::string_view path) const {
  const auto known = index_.find(path);
  return known == index_.end() ? nullptr : touched_[known->second].current();
}

store_node& store_transaction::edit(std::string_view path) {
  auto& entry = touched(path);
  if (!entry.own) entry.own = std::make_shared<store_node>(*entry.seen);
  entry.own->generation = tree_.next_generation();
  return *entry.own;
}

void store_transaction::create(const std::string& path, store_node node) {
  edit(parent_store_path(path)).add_child(leaf_store_name(path));
  node.generation = tree_.next_generation();
  ++ownership_[node.owner()];
  created_ = true;
  auto& entry = touched(path);
  entry.own = std::make_shared<store_node>(std::move(node));
  entry.erased = false;
}

void store_transaction::set_permissions(std::string_view path, std::vector<store_permission> list) {
  auto& node = edit(path);
  --ownership_[node.owner()];
  node.permissions = std::move(list);
  node.permissions_generation = node.generation;
  ++ownership_[node.owner()];
}

void store_transaction::erase(std::string_view path) {
  auto& entry = touched(path);
  --ownership_[entry.current()->owner()];
  entry.own = nullptr;
  entry.erased = true;
}

void store_transaction::note_change(std::string_view path, bool exact) {
  auto& entry = touched(path);
  entry.notify = true;
  entry.exact = entry.exact && exact;
}

bool store_transaction::has_conflict() const {
  return std::any_of(touched_.begin(), touched_.end(), [this](const touched_node& entry) {
    const auto current = tree_.find(entry.path);
    // A generation is unique and never reused, so it identifies one version of a node.
    return (current ? current->generation : 0) != (entry.seen ? entry.seen->generation : 0);
  });
}

bool store_transaction::exceeds(std::size_t node_quota) const {
  return std::any_of(ownership_.begin(), ownership_.end(), [&](const auto& entry) {
    const auto& [owner, change] = entry;
    const auto total = static_cast<std::ptrdiff_t>(tree_.node_count(owner)) + change;
    return owner != domid_0 && total >= static_cast<std::ptrdiff_t>(node_quota);
  });
}

store_result<void> store_transaction::commit(std::optional<std::size_t> node_quota,
                                             const store_change_handler& on_change) {
  if (failed_) return std::errc::not_enough_memory;
  if (created_ && node_quota && exceeds(*node_quota)) return std::errc::no_space_on_device;
  if (has_conflict()) return std::errc::resource_unavailable_try_again;
  for (auto& entry : touched_) {
    if (entry.is_modified()) tree_.adopt(entry.path, std::move(entry.own));
    if (entry.notify)
      on_change({.path = entry.path, .before = entry.seen.get(), .exact = entry.exact});
  }
  return {};
}

}  // namespace xenpv::sim
