// A pipe with two owners: what a process hears of a child with.
#pragma once

#include "xenpv/base/unique_fd.hpp"

namespace xenpv {

struct pipe_ends {
  unique_fd reader;
  unique_fd writer;
};

/// Close-on-exec at both ends. Throws `failure`.
[[nodiscard]] pipe_ends make_pipe();

}  // namespace xenpv
