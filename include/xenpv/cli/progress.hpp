// One line that says how far a long work is, rewritten in place; on terminals only, so that logs
// and scripts never see it.
#pragma once

#include <string_view>

namespace xenpv::cli {

class progress_line {
 public:
  /// Draws to standard error if that is a terminal (base/terminal.hpp).
  progress_line();
  /// Removes the line.
  ~progress_line();
  progress_line(const progress_line&) = delete;
  progress_line& operator=(const progress_line&) = delete;

  /// Whether there is a terminal to draw to.
  [[nodiscard]] bool is_wanted() const noexcept { return is_terminal_; }
  /// Draws nothing while somebody else has the terminal: a job in its foreground, or a program that
  /// takes keys one by one (an editor, a shell's prompt).
  void show(std::string_view text);
  void clear();

 private:
  bool is_terminal_;
  bool shown_ = false;
};

}  // namespace xenpv::cli
