#include "background.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <ostream>
#include <string>

#include "base/log_output.hpp"
#include "base/pipe.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::disk_app {
namespace {

/// How long announce() waits for the reader of the messages.
constexpr std::chrono::seconds flush_limit(1);

void redirect_to_null(int descriptor, int flags) {
  const unique_fd null(::open("/dev/null", flags | O_CLOEXEC));
  if (null) ::dup2(null.get(), descriptor);
}

void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const auto count = ::write(descriptor, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

/// Reads the next available data; returns an empty string at the end of the stream.
std::string read_some(int descriptor) {
  std::array<char, 4096> bytes;
  for (;;) {
    const auto count = ::read(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    return {bytes.data(), count > 0 ? static_cast<std::size_t>(count) : 0};
  }
}

/// Forwards `messages` to stderr until a line arrives on `ready`, and returns that line. If no line
/// arrives, continues until both pipes are closed, because a command writes its final error after
/// it has closed everything else.
std::string forward_until_ready(int ready, int messages) {
  std::string announced;
  std::array<pollfd, 2> ends = {pollfd{ready, POLLIN, 0}, pollfd{messages, POLLIN, 0}};
  while (ends[0].fd >= 0 || (announced.empty() && ends[1].fd >= 0)) {
    if (::poll(ends.data(), ends.size(), -1) < 0) {
      if (errno == EINTR) continue;
      throw_errno("wait for the background process");
    }
    if (ends[1].revents != 0) {
      const auto text = read_some(messages);
      write_all(STDERR_FILENO, text);
      if (text.empty()) ends[1].fd = -1;
    } else if (ends[0].revents != 0) {
      const auto text = read_some(ready);
      announced += text;
      if (text.empty()) ends[0].fd = -1;
    }
  }
  return announced;
}

cli::exit_code wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? cli::exit_code{WEXITSTATUS(status)} : cli::exit_code::failed;
}

}  // namespace

background_start start_in_background(std::ostream& out) {
  auto ready = make_pipe();
  auto messages = make_pipe();
  out.flush();
  const auto child = ::fork();
  if (child < 0) throw_errno("start a background process");
  background_start start;
  if (child > 0) {
    ready.writer.reset();
    messages.writer.reset();
    const auto announced = forward_until_ready(ready.reader.get(), messages.reader.get());
    out << announced;
    start.outcome = announced.empty() ? wait_for(child) : cli::exit_code::ok;
    return start;
  }
  ::setsid();
  static_cast<void>(::chdir("/"));
  redirect_to_null(STDIN_FILENO, O_RDONLY);
  redirect_to_null(STDOUT_FILENO, O_WRONLY);
  ::dup2(messages.writer.get(), STDERR_FILENO);
  log_to_syslog_too("xenpv-disk");
  start.ready = std::move(ready.writer);
  return start;
}

void announce(background_start& start, std::string_view line) {
  // The parent process stops relaying messages when it receives the line.
  flush_log(flush_limit);
  write_all(start.ready.get(), std::string(line) + "\n");
  redirect_to_null(STDERR_FILENO, O_WRONLY);
  start.ready.reset();
}

}  // namespace xenpv::disk_app
