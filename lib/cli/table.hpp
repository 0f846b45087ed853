// Aligned text columns for people and for awk: one header line, one line per row, two spaces
// between columns, no trailing spaces. Independent of terminals: no colours, no truncation.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace xenpv::cli {

enum class align { left, right };

struct column {
  std::string title;
  align side = align::left;  ///< right for numbers
};

class table {
 public:
  explicit table(std::vector<column> columns);

  /// One cell per column, else throws std::invalid_argument. An empty cell prints as "-", so that
  /// columns can be counted; control characters and invalid UTF-8 (possibly from another domain)
  /// print as \xNN.
  table& add_row(std::vector<std::string> cells);

  [[nodiscard]] bool empty() const noexcept { return rows_.empty(); }
  void print(std::ostream& out) const;

 private:
  std::vector<column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// `text` made safe for a terminal: control characters and invalid UTF-8 become \xNN.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace xenpv::cli
