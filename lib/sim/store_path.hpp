// Store paths: validity, resolution of relative paths, parents and children. These functions do not
// check whether nodes exist.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "xenpv/base/types.hpp"

namespace xenpv::sim {

/// Returns "/local/domain/N", the base of domain N's relative paths.
[[nodiscard]] std::string domain_path(domid domain);

/// Returns `path` unchanged if it starts with '/' or '@'; otherwise resolves it against the
/// domain's directory. Does not check that the result is valid.
[[nodiscard]] std::string resolve_store_path(std::string_view path, domid domain);
[[nodiscard]] bool is_relative_store_path(std::string_view path) noexcept;

/// Returns true if `path` starts with '@' and thus names an event, such as "@releaseDomain".
[[nodiscard]] bool is_special_store_path(std::string_view path) noexcept;

/// Returns true if `path` can name a node: absolute, [A-Za-z0-9-/_@] only, no "//", no '/' at the
/// end.
[[nodiscard]] bool is_valid_store_path(std::string_view path) noexcept;
/// Returns the length that counts against the `path_length` quota, in bytes: the length of `path`
/// without a leading "/local/domain/N/".
[[nodiscard]] std::size_t accounted_path_length(std::string_view path) noexcept;

/// Returns the parent directory of a valid path; "/" is its own parent.
[[nodiscard]] std::string_view parent_store_path(std::string_view path) noexcept;
/// Returns the last component of a valid path other than "/".
[[nodiscard]] std::string_view leaf_store_name(std::string_view path) noexcept;
[[nodiscard]] std::string child_store_path(std::string_view parent, std::string_view name);
/// Returns true if `path` is `top` or is below `top`.
[[nodiscard]] bool is_within_store_path(std::string_view path, std::string_view top) noexcept;

}  // namespace xenpv::sim
