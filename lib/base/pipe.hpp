// A pipe whose ends have separate owners, through which a process reads a child's reports.
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
