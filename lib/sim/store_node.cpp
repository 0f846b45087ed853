#include "sim/store_node.hpp"

namespace xenpv::sim {

std::size_t store_node::accounted_size() const noexcept {
  // xenstored also counts its record header, and eight bytes per permission.
  constexpr std::size_t header_size = 24;
  constexpr std::size_t permission_size = 8;
  return header_size + permissions.size() * permission_size + value.size() + children.size();
}

void store_node::add_child(std::string_view name) {
  children.append(name);
  children.push_back('\0');
}

bool store_node::remove_child(std::string_view name) {
  for (std::size_t at = 0; at < children.size();) {
    const auto end = children.find('\0', at);
    if (std::string_view(children).substr(at, end - at) == name) {
      children.erase(at, end - at + 1);
      return true;
    }
    at = end + 1;
  }
  return false;
}

std::vector<std::string> store_node::child_names() const {
  std::vector<std::string> names;
  for (std::size_t at = 0; at < children.size();) {
    const auto end = children.find('\0', at);
    names.push_back(children.substr(at, end - at));
    at = end + 1;
  }
  return names;
}

}  // namespace xenpv::sim
