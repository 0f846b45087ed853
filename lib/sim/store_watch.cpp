#include "sim/store_watch.hpp"

#include "sim/store_path.hpp"

namespace xenpv::sim {

store_watch::store_watch(std::string_view given_path, std::string_view given_token, domid domain)
    : given(given_path), token(given_token), prefix(0) {
  move_to(domain);
}

void store_watch::move_to(domid domain) {
  path = resolve_store_path(given, domain);
  prefix = path.size() - given.size();
}

bool store_watch::matches(const store_change& change) const {
  return change.exact ? change.path == path : is_within_store_path(change.path, path);
}

std::string_view store_watch::reported(std::string_view changed) const {
  return changed.substr(prefix);
}

bool may_observe(const store_change& change, const store_caller& caller, const store_tree& tree) {
  if (change.before && tree.rights(caller, *change.before).read) return true;
  const auto current = change.node ? nullptr : tree.find(change.path);
  const auto* const node = change.node ? change.node : current.get();
  if (!node) return false;
  if (tree.rights(caller, *node).read) return true;
  if (is_special_store_path(change.path)) return false;
  const auto directory = tree.find(parent_store_path(change.path));
  return directory && tree.rights(caller, *directory).read;
}

}  // namespace xenpv::sim
