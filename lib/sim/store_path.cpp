#include "sim/store_path.hpp"

#include <fmt/format.h>

namespace xenpv::sim {
namespace {

constexpr std::string_view domains_directory = "/local/domain/";
constexpr std::string_view decimal_digits = "0123456789";

/// Returns the length of a leading "/local/domain/N/", or 0 if there is none. The daemon reads at
/// most five digits.
std::size_t own_directory_length(std::string_view path) noexcept {
  if (!path.starts_with(domains_directory)) return 0;
  const auto end = path.find_first_not_of(decimal_digits, domains_directory.size());
  const bool has_number = end != std::string_view::npos && end != domains_directory.size() &&
                          end - domains_directory.size() <= 5;
  return has_number && path[end] == '/' ? end + 1 : 0;
}

}  // namespace

std::string domain_path(domid domain) {
  return fmt::format("{}{}", domains_directory, domain);
}

bool is_relative_store_path(std::string_view path) noexcept {
  return !path.starts_with('/') && !path.starts_with('@');
}

std::string resolve_store_path(std::string_view path, domid domain) {
  return is_relative_store_path(path) ? fmt::format("{}/{}", domain_path(domain), path)
                                      : std::string(path);
}

bool is_special_store_path(std::string_view path) noexcept {
  return path.starts_with('@');
}

bool is_valid_store_path(std::string_view path) noexcept {
  constexpr std::string_view allowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-/_@";
  if (!path.starts_with('/')) return false;
  if (path.size() > 1 && path.ends_with('/')) return false;
  if (path.find("//") != std::string_view::npos) return false;
  return path.find_first_not_of(allowed) == std::string_view::npos;
}

std::size_t accounted_path_length(std::string_view path) noexcept {
  return path.size() - own_directory_length(path);
}

std::string_view parent_store_path(std::string_view path) noexcept {
  const auto slash = path.rfind('/');
  return slash == 0 || slash == std::string_view::npos ? std::string_view("/")
                                                       : path.substr(0, slash);
}

std::string_view leaf_store_name(std::string_view path) noexcept {
  return path.substr(path.rfind('/') + 1);
}

std::string child_store_path(std::string_view parent, std::string_view name) {
  return parent == "/" ? fmt::format("/{}", name) : fmt::format("{}/{}", parent, name);
}

bool is_within_store_path(std::string_view path, std::string_view top) noexcept {
  if (top == "/") return true;
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}

}  // namespace xenpv::sim
