// The validated contents of a frontend's directory: ring locations and features. Pure functions;
// the rules depend on the kind of backend (personality.hpp). The frontend is not trusted.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "blkback/disk_config.hpp"
#include "blkback/nodes.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::blkback {

struct ring_location {
  std::vector<grant_ref> refs;  ///< one per page, in order
  port event_channel{};
  friend bool operator==(const ring_location&, const ring_location&) = default;
};

struct frontend_keys {
  std::vector<ring_location> queues;  ///< at least one, all with the same number of pages
  bool persistent = false;  ///< the frontend offers it; used if the backend also offers it
};

/// `directory`: the frontend's nodes. `path`: the directory's path, for error messages. After an
/// error, the backend writes its error node and changes to Closing.
[[nodiscard]] result<frontend_keys> parse_frontend_keys(const nodes& directory,
                                                        std::string_view path,
                                                        const disk_config& disk);

}  // namespace xenpv::blkback
