// A pipe whose ends have separate owners: a process reads the reports of a child from it.
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
