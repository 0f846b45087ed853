#include "cli/progress.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>

#include "base/terminal.hpp"
#include "base/utf8.hpp"

namespace xenpv::cli {
namespace {

/// Skips a stopped terminal (Ctrl-S), which would block the caller.
void draw(std::string_view text) {
  pollfd terminal{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (::poll(&terminal, 1, 0) != 1) return;
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

/// Returns the sequence that erases `lines` lines, of which the last contains the cursor (ECMA-48).
std::string wipe(std::size_t lines) {
  if (lines < 2) return std::string(wipe_line);
  return fmt::format("\r\x1b[{}A\x1b[J", lines - 1);
}

/// True if no other program uses the terminal. Only the controlling terminal has a foreground
/// process group.
bool is_ours() {
  const auto foreground = ::tcgetpgrp(STDERR_FILENO);
  if (foreground >= 0 && foreground != ::getpgrp()) return false;
  termios mode{};
  return ::tcgetattr(STDERR_FILENO, &mode) != 0 || (mode.c_lflag & ICANON) != 0;
}

}  // namespace

progress_line::progress_line() : is_terminal_(can_redraw(STDERR_FILENO)) {}

progress_line::~progress_line() {
  clear();
}

void progress_line::show(std::string_view text) {
  if (!is_terminal_ || !is_ours()) return;
  draw(fmt::format("{}{}", wipe(shown_), text));
  shown_ = 1;
}

void progress_line::show_lines(const std::vector<std::string>& lines) {
  if (!is_terminal_ || !is_ours()) return;
  // In the last column, some terminals wrap.
  const auto columns = std::max<std::size_t>(text_columns(STDERR_FILENO), 2) - 1;
  auto text = wipe(shown_);
  shown_ = std::min(lines.size(), max_lines());
  for (std::size_t i = 0; i < shown_; ++i)
    text += fmt::format("{}{}", i == 0 ? "" : "\r\n", utf8_prefix(lines[i], columns));
  draw(text);
}

std::size_t progress_line::max_lines() const noexcept {
  constexpr std::size_t usual = 24;
  winsize window{};
  const bool is_known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_row > 0;
  return std::max<std::size_t>(is_known ? window.ws_row : usual, 2) - 1;
}

void progress_line::clear() {
  if (shown_ == 0) return;
  if (is_ours()) draw(wipe(shown_));
  shown_ = 0;
}

}  // namespace xenpv::cli
