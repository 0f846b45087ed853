// The nodes that libxl and Linux create for a domain, with their permissions, and the comparison of
// a store with them. The values differ from guest to guest, so the listings have none.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "contract/store_session.hpp"

namespace xenpv::contract {

enum class guest_kind { pv, pvh, hvm };

enum class node_presence {
  always,
  optional,     ///< depends on the configuration, the release or the guest's kernel
  pv,           ///< always in a PV guest, and never in other guests
  pv_optional,  ///< may exist in a PV guest only
  hvm,          ///< may exist in an HVM guest only
};

struct listed_node {
  /// Relative to the directory; empty: the directory itself. The component `*` matches any one
  /// component, and a final `**` matches everything below. The first matching entry applies.
  std::string_view path;
  /// In the format of `xenstore-ls -p`, with G for the guest's ID, as in "n0,rG"; empty: any.
  std::string_view permissions;
  node_presence presence = node_presence::always;
};

/// Return the nodes below a guest's home directory (/local/domain/N), below its /vm/UUID, and below
/// the home directory of domain 0.
[[nodiscard]] std::span<const listed_node> guest_home_listing();
[[nodiscard]] std::span<const listed_node> guest_vm_listing();
[[nodiscard]] std::span<const listed_node> domain_0_listing();

struct found_node {
  std::string path;         ///< relative to the directory
  std::string permissions;  ///< in the format of listed_node
};

/// Returns the directory and everything below it that the caller may read. Ignores nodes that are
/// removed meanwhile. `guest`: the domain ID to write as G.
[[nodiscard]] std::vector<found_node> read_tree(const store_session& store,
                                                const std::string& directory, std::uint32_t guest);

/// Returns one line for each node that is missing, unexpected, or has other permissions.
[[nodiscard]] std::vector<std::string> differences(std::span<const listed_node> listing,
                                                   const std::vector<found_node>& nodes,
                                                   guest_kind kind);

}  // namespace xenpv::contract
