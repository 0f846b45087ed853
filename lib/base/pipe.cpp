#include "base/pipe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>

#include "xenpv/base/error.hpp"

namespace xenpv {

pipe_ends make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("create a pipe");
  return {unique_fd(ends[0]), unique_fd(ends[1])};
}

}  // namespace xenpv
