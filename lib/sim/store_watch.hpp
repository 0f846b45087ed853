// One watch: the changes that it matches, and the paths that it reports. Does not check
// permissions; may_observe() does.
#pragma once

#include <string>
#include <string_view>

#include "sim/store_change.hpp"
#include "sim/store_tree.hpp"

namespace xenpv::sim {

struct store_watch {
  std::string given;  ///< as registered, relative or not
  std::string token;
  std::string path;    ///< `given`, resolved for the domain
  std::size_t prefix;  ///< bytes of `path` that a relative watch does not report

  store_watch(std::string_view given_path, std::string_view given_token, domid domain);

  /// Resolves a relative path again, for the new domain ID.
  void move_to(domid domain);
  [[nodiscard]] bool matches(const store_change& change) const;
  /// Returns the path to report for `changed`: relative for a relative watch.
  [[nodiscard]] std::string_view reported(std::string_view changed) const;
};

/// xenstored reports a change to a connection that can read the node, could read it before, or can
/// read the node's directory. A special event requires read permission on the event itself.
[[nodiscard]] bool may_observe(const store_change& change, const store_caller& caller,
                               const store_tree& tree);

}  // namespace xenpv::sim
