// A store change as reported to watches, and the result type of store operations.
#pragma once

#include <boost/system/result.hpp>
#include <functional>
#include <string_view>
#include <system_error>

#include "sim/store_node.hpp"

namespace xenpv::sim {

/// Errors are errno values; the wire protocol sends them by name.
template <class T>
using store_result = boost::system::result<T, std::errc>;

/// Refers to data that is valid only for the duration of one call.
struct store_change {
  std::string_view path;
  const store_node* node = nullptr;  ///< the changed or removed node; null: look it up
  /// The previous state; a client that could read it may be notified of the change.
  const store_node* before = nullptr;
  bool exact = false;  ///< matches only watches on this exact path
};

using store_change_handler = std::function<void(const store_change&)>;

}  // namespace xenpv::sim
