// One watch: which changes it matches and under which path it reports them.
// Whether its owner may hear of a change is decided by may_hear_of.
#pragma once

#include <string>
#include <string_view>

#include "sim/store_change.hpp"
#include "sim/store_tree.hpp"

namespace xenpv::sim {

struct store_watch {
  std::string given;  ///< as registered, relative or not
  std::string token;
  std::string path;    ///< what `given` means for the domain
  std::size_t prefix;  ///< bytes of `path` that a relative watch does not report

  store_watch(std::string_view given_path, std::string_view given_token, domid domain);

  /// Reads a relative path again, for the number the domain has now.
  void move_to(domid domain);
  [[nodiscard]] bool matches(const store_change& change) const;
  /// `changed` as this watch's owner wants to see it.
  [[nodiscard]] std::string_view reported(std::string_view changed) const;
};

/// xenstored tells a connection of a change when it can read the node, could read it before, or can
/// read the node's directory. Of special events it needs the right to read the event's own
/// permissions.
[[nodiscard]] bool may_hear_of(const store_change& change, const store_caller& caller,
                               const store_tree& tree);

}  // namespace xenpv::sim
