// A domain's usage of the resources for which xenstored has quotas. Plain values: the service
// counts them.
#pragma once

#include <cstdint>

namespace xenpv::sim {

struct store_usage {
  std::uint32_t nodes = 0;         ///< nodes that the domain owns
  std::uint32_t watches = 0;       ///< on all of its connections
  std::uint32_t outstanding = 0;   ///< always 0: the simulated daemon answers immediately
  std::uint32_t memory = 0;        ///< estimated bytes of its nodes and watches; has no maximum
  std::uint32_t transactions = 0;  ///< open transactions, on all of its connections
  // Only their maxima are meaningful.
  std::uint32_t transaction_nodes = 0;  ///< nodes that a transaction accessed
  std::uint32_t permissions = 0;        ///< permissions of a node that the domain wrote
  std::uint32_t path_length = 0;        ///< bytes; see accounted_path_length()
  std::uint32_t node_size = 0;          ///< bytes of a node that the domain wrote

  /// Raises each value to the value in `other` if that is higher.
  void raise_to(const store_usage& other) noexcept;
};

}  // namespace xenpv::sim
