#include "cli/progress.hpp"

#include <fmt/format.h>
#include <termios.h>
#include <unistd.h>

#include <string>

#include "base/terminal.hpp"

namespace xenpv::cli {
namespace {

void draw(std::string_view text) {
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
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
  shown_ = true;
  draw(fmt::format("{}{}", wipe_line, text));
}

void progress_line::clear() {
  if (!shown_) return;
  shown_ = false;
  if (is_ours()) draw(wipe_line);
}

}  // namespace xenpv::cli
