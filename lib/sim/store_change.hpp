// What a change of the store tells the watches, and the result type of the store's operations.
#pragma once

#include <boost/system/result.hpp>
#include <functional>
#include <string_view>
#include <system_error>

#include "sim/store_node.hpp"

namespace xenpv::sim {

/// Errors are what the wire carries: errno values, told to the client by name.
template <class T>
using store_result = boost::system::result<T, std::errc>;

/// Views, good for the duration of one call.
struct store_change {
  std::string_view path;
  const store_node* node = nullptr;  ///< the node as changed, or as last seen; null: look it up
  const store_node* before =
      nullptr;         ///< older state; who could read it then may hear of the change
  bool exact = false;  ///< only for watches of this very path
};

using store_change_handler = std::function<void(const store_change&)>;

}  // namespace xenpv::sim
