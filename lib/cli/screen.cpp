#include "cli/screen.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/terminal.hpp"
#include "base/utf8.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::cli {
namespace {

// ECMA-48 and the private modes of xterm, which all current terminal emulators support.
constexpr std::string_view enter = "\x1b[?1049h\x1b[?25l";
constexpr std::string_view leave = "\x1b[?25h\x1b[?1049l";
constexpr std::string_view home = "\x1b[H";
constexpr std::string_view clear_to_line_end = "\x1b[K";
constexpr std::string_view clear_below = "\x1b[J";

void write_all(std::string_view text) {
  while (!text.empty()) {
    const auto written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    // The terminal was closed; SIGHUP then ends the program.
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

bool screen::is_possible() noexcept {
  return ::isatty(STDIN_FILENO) == 1 && can_redraw(STDOUT_FILENO);
}

screen::screen() {
  sigset_t blocked;
  ::sigemptyset(&blocked);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGWINCH})
    ::sigaddset(&blocked, signal);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &mask_before_);
  signals_.reset(::signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) throw_errno("wait for signals");
  ::tcgetattr(STDIN_FILENO, &before_);
  auto raw = before_;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  write_all(enter);
}

screen::~screen() {
  write_all(leave);
  ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

screen::extent screen::size() const noexcept {
  winsize window{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0 || window.ws_row == 0)
    return {};
  return {window.ws_col, window.ws_row};
}

void screen::draw(const std::vector<std::string>& lines) {
  const auto window = size();
  std::string picture(home);
  const auto count = std::min<std::size_t>(lines.size(), window.rows);
  for (std::size_t i = 0; i < count; ++i) {
    picture += utf8_prefix(lines[i], window.columns);
    picture += clear_to_line_end;
    // A newline on the last line would scroll.
    if (i + 1 < window.rows) picture += "\r\n";
  }
  if (count < window.rows) picture += clear_below;
  write_all(picture);
}

screen::event screen::take_signal() {
  signalfd_siginfo info{};
  bool resized = false;
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo != SIGWINCH) return event::ended;
    resized = true;
  }
  return resized ? event::resized : event::timeout;
}

screen::event screen::wait(std::chrono::steady_clock::time_point until) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
  pollfd ready[2] = {{signals_.get(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  const auto timeout = static_cast<int>(std::clamp<long>(left.count(), 0, 3'600'000));
  if (::poll(ready, 2, timeout) <= 0) return event::timeout;
  if ((ready[0].revents & POLLIN) != 0) return take_signal();
  if (::read(STDIN_FILENO, &key_, 1) == 1) return event::key;
  return event::ended;
}

}  // namespace xenpv::cli
