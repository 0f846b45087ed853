// Pipes that stand in for event-channel handles: the read end shows whether the write end is open.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <string>

#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::xen::test {

struct pipe_ends {
  unique_fd read;
  unique_fd write;
};

inline pipe_ends make_pipe(int flags = O_CLOEXEC) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), flags) != 0) throw_errno("make a pipe");
  return {unique_fd(ends[0]), unique_fd(ends[1])};
}

/// Returns true if all duplicates of the write end are closed. Waits for up to `milliseconds`.
inline bool is_hung_up(const unique_fd& read_end, int milliseconds = 0) {
  pollfd entry{.fd = read_end.get(), .events = 0, .revents = 0};
  return ::poll(&entry, 1, milliseconds) == 1 && (entry.revents & POLLHUP) != 0;
}

/// Reads until all duplicates of the write end are closed.
inline std::string read_all(const unique_fd& read_end) {
  std::string text;
  std::array<char, 4096> piece{};
  for (;;) {
    const auto size = ::read(read_end.get(), piece.data(), piece.size());
    if (size <= 0) return text;
    text.append(piece.data(), static_cast<std::size_t>(size));
  }
}

}  // namespace xenpv::xen::test
