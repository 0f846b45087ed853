// Permissions of a store node: who may read, write, or change them.
//
// The first entry of a list names the owner; its bits are everybody else's default. Further entries
// name domains of their own. Pure values; which domains exist is the tree's knowledge
// (store_tree.hpp).
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

/// What a caller may do with one node. A request that asks for `own` wants to change permissions.
struct store_rights {
  bool read = false;
  bool write = false;
  bool own = false;

  /// True when every right that `wanted` has is granted here.
  [[nodiscard]] bool cover(const store_rights& wanted) const noexcept;
  /// True when at least one right that `wanted` has is granted here.
  [[nodiscard]] bool touch(const store_rights& wanted) const noexcept;
};

inline constexpr store_rights right_to_read{.read = true};
inline constexpr store_rights right_to_write{.write = true};
inline constexpr store_rights right_to_own{.write = true, .own = true};

/// On whose behalf the store is used. `target`: the domain this one serves (SET_TARGET), whose
/// rights it has as well.
struct store_caller {
  domid domain = domid_0;
  std::optional<domid> target{};

  [[nodiscard]] bool is_privileged() const noexcept { return domain == domid_0; }
  [[nodiscard]] bool speaks_for(domid other) const noexcept {
    return domain == other || target == other;
  }
};

/// One word of GET_PERMS: "r7".
[[nodiscard]] std::string format_permission(const store_permission& permission);

/// One word of SET_PERMS: [rwbn] and a domain number, read as strtol(3) does; nullopt when it is
/// anything else.
[[nodiscard]] std::optional<store_permission> parse_permission(std::string_view word);

}  // namespace xenpv::sim
