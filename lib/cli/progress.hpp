// A progress line that is rewritten in place. Shown only on terminals, so that it never appears in
// logs and scripts.
#pragma once

#include <string_view>

namespace xenpv::cli {

class progress_line {
 public:
  /// Draws to stderr if it is a terminal (base/terminal.hpp).
  progress_line();
  /// Erases the line.
  ~progress_line();
  progress_line(const progress_line&) = delete;
  progress_line& operator=(const progress_line&) = delete;

  /// True if stderr is a terminal that can redraw a line.
  [[nodiscard]] bool is_wanted() const noexcept { return is_terminal_; }
  /// Does not draw while another program uses the terminal: a foreground job, or a program in
  /// non-canonical mode (an editor, a shell prompt).
  void show(std::string_view text);
  void clear();

 private:
  bool is_terminal_;
  bool shown_ = false;
};

}  // namespace xenpv::cli
