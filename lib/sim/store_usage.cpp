#include "sim/store_usage.hpp"

#include <algorithm>

namespace xenpv::sim {

void store_usage::raise_to(const store_usage& other) noexcept {
  for (const auto value :
       {&store_usage::nodes, &store_usage::watches, &store_usage::outstanding, &store_usage::memory,
        &store_usage::transactions, &store_usage::transaction_nodes, &store_usage::permissions,
        &store_usage::path_length, &store_usage::node_size})
    this->*value = std::max(this->*value, other.*value);
}

}  // namespace xenpv::sim
