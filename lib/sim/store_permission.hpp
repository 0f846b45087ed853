// Permissions of a store node: which domains may read it, write it or change its permissions.
//
// The first entry of a list names the owner; its bits are the default for all other domains. Each
// further entry applies to the domain it names. Pure values: the tree (store_tree.hpp) tracks which
// domains exist.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/types.hpp"

namespace xenpv::sim {

struct store_permission {
  domid domain;
  bool read = false;
  bool write = false;
  friend bool operator==(const store_permission&, const store_permission&) = default;
};

/// A caller's rights on one node. `own` is the right to change the node's permissions.
struct store_rights {
  bool read = false;
  bool write = false;
  bool own = false;

  /// Returns true if these rights include every right in `required`.
  [[nodiscard]] bool cover(const store_rights& required) const noexcept;
  /// Returns true if these rights include at least one right in `required`.
  [[nodiscard]] bool touch(const store_rights& required) const noexcept;
};

inline constexpr store_rights right_to_read{.read = true};
inline constexpr store_rights right_to_write{.write = true};
inline constexpr store_rights right_to_own{.write = true, .own = true};

/// The domain that sends a request. `target`: the domain that it serves (set by SET_TARGET) and
/// whose rights it therefore has as well.
struct store_caller {
  domid domain = domid_0;
  std::optional<domid> target{};

  [[nodiscard]] bool is_privileged() const noexcept { return domain == domid_0; }
  [[nodiscard]] bool acts_for(domid other) const noexcept {
    return domain == other || target == other;
  }
};

/// Formats one entry of a GET_PERMS reply, such as "r7".
[[nodiscard]] std::string format_permission(const store_permission& permission);

/// Parses one entry of a SET_PERMS request: a letter of [rwbn] and a domain number, parsed as by
/// strtol(3). Returns nullopt for anything else.
[[nodiscard]] std::optional<store_permission> parse_permission(std::string_view text);

}  // namespace xenpv::sim
