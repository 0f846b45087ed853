// Limits of the store for unprivileged domains.
#pragma once

#include <cstdint>

namespace xenpv::sim {

/// Quotas of an unprivileged domain. They do not apply to domain 0, except where stated. Defaults
/// and counting follow xenstored: one watch and one transaction more than the limit are allowed, a
/// node's size must stay below its limit, and a commit that creates nodes must leave the domain
/// below its node limit.
struct store_quota {
  std::uint32_t nodes = 1000;
  std::uint32_t watches = 128;
  std::uint32_t transactions = 10;
  std::uint32_t transaction_nodes = 1024;
  std::uint32_t node_size = 2048;  ///< bytes: value, permissions, child names, 24-byte header
  std::uint32_t permissions = 5;
  std::uint32_t path_length = 2048;  ///< bytes, not counting a leading "/local/domain/N/"
  std::uint32_t outstanding = 20;    ///< requests without a reply; reported, but not enforced
  std::uint32_t memory = 2'621'440;  ///< bytes; reported, but not enforced
  std::uint32_t memory_warning = 2'097'152;  ///< bytes; reported, but not enforced
  /// Before Xen 4.18, the path length limit also applied to domain 0.
  bool limits_paths_of_domain_0 = true;
};

}  // namespace xenpv::sim
