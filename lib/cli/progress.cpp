#include "xenpv/cli/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <string>

namespace xenpv::cli {
namespace {

/// Back to the line's start, and everything behind it away.
constexpr std::string_view wipe = "\r\x1b[K";

void draw(std::string_view text) {
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

progress_line::progress_line() : is_terminal_(::isatty(STDERR_FILENO) == 1) {}

progress_line::~progress_line() {
  clear();
}

void progress_line::show(std::string_view text) {
  if (!is_terminal_) return;
  shown_ = true;
  draw(fmt::format("{}{}", wipe, text));
}

void progress_line::clear() {
  if (!shown_) return;
  shown_ = false;
  draw(wipe);
}

}  // namespace xenpv::cli
