// A pipe with separately owned ends, through which a child process reports to its parent.
#pragma once

#include "xenpv/base/unique_fd.hpp"

namespace xenpv {

struct pipe_ends {
  unique_fd reader;
  unique_fd writer;
};

/// Both ends are close-on-exec. Throws `failure`.
[[nodiscard]] pipe_ends make_pipe();

}  // namespace xenpv
