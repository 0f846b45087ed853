// A progress line, or several, rewritten in place. Shown only on terminals, so that it never
// appears in logs and scripts.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

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
  /// The same for several lines. Truncates them to the terminal's width, and shows no more than
  /// max_lines().
  void show_lines(const std::vector<std::string>& lines);
  /// Returns how many lines fit the terminal. At least one.
  [[nodiscard]] std::size_t max_lines() const noexcept;
  void clear();

 private:
  bool is_terminal_;
  std::size_t shown_ = 0;  ///< number of lines on the terminal
};

}  // namespace xenpv::cli
