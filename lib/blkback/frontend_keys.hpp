// What a frontend wrote into its directory, checked: where its rings are and how it speaks. Pure;
// each kind of backend reads by its own rules (personality.hpp). The frontend is not trusted.
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
  std::vector<grant_ref> refs;  ///< one a page, in order
  port event_channel{};
  friend bool operator==(const ring_location&, const ring_location&) = default;
};

struct frontend_keys {
  std::vector<ring_location> queues;  ///< at least one; the same number of pages each
  bool persistent = false;            ///< what the frontend says; the backend has its own say
};

/// `directory`: the frontend's nodes, `path`: its name in error texts. A backend turns the error
/// into its error node and goes to Closing.
[[nodiscard]] result<frontend_keys> parse_frontend_keys(const nodes& directory,
                                                        std::string_view path,
                                                        const disk_config& disk);

}  // namespace xenpv::blkback
