// Limits that the store sets to unprivileged domains.
#pragma once

#include <cstdint>

namespace xenpv::sim {

/// Quotas of an unprivileged domain; domain 0 has none. Defaults are xenstored's own, and so is the
/// counting: one watch and one transaction more than the number are granted, a node's size must
/// stay below it, and a commit that creates nodes must leave the domain below its number of nodes.
struct store_quota {
  std::uint32_t nodes = 1000;
  std::uint32_t watches = 128;
  std::uint32_t transactions = 10;
  std::uint32_t transaction_nodes = 1024;
  std::uint32_t node_size = 2048;  ///< bytes of value, permissions, child names and a header of 24
  std::uint32_t permissions = 5;
};

}  // namespace xenpv::sim
