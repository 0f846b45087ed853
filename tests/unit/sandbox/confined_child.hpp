// Runs a function in a child process, because a process cannot get rid of its restrictions. The
// child fails by require() or by an exception; its messages are returned to the test.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <string>

#include "base/pipe.hpp"

namespace xenpv::sandbox {

/// The end of a child process: its wait(2) status, and what it wrote to stderr.
struct child_end {
  int status = 0;
  std::string messages;

  [[nodiscard]] bool succeeded() const { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
};

/// In the child: ends it with a message unless `holds`.
inline void require(bool holds, const std::string& expectation) {
  if (holds) return;
  const auto text = "not fulfilled: " + expectation + " (errno " + std::to_string(errno) + ")\n";
  static_cast<void>(!::write(STDERR_FILENO, text.data(), text.size()));
  ::_exit(1);
}

/// In the child: requires that a call failed with `error`. `result` is its return value.
inline void require_error(long result, int error, const std::string& call) {
  require(result == -1 && errno == error, call + " fails with " + std::strerror(error));
}

template <class Function>
child_end run_in_child(Function function) {
  auto [reader, writer] = make_pipe();
  child_end out;
  const auto child = ::fork();
  if (child == 0) {
    ::dup2(writer.get(), STDERR_FILENO);
    try {
      function();
    } catch (const std::exception& problem) {
      require(false, std::string("no exception: ") + problem.what());
    }
    ::_exit(0);
  }
  writer.reset();
  char bytes[4096];
  for (ssize_t got = 0; (got = ::read(reader.get(), bytes, sizeof bytes)) != 0;)
    if (got > 0) out.messages.append(bytes, static_cast<std::size_t>(got));
  ::waitpid(child, &out.status, 0);
  return out;
}

/// Returns the number of occurrences of `part` in `text`.
inline std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++count;
  return count;
}

}  // namespace xenpv::sandbox
