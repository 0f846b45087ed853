// Aligned text columns for people and for awk: one header line, one line a row, two spaces between
// columns, no trailing spaces. Does not know terminals: no colours, no cutting off.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

namespace xenpv::cli {

enum class align { left, right };

struct column {
  std::string title;
  align side = align::left;  ///< numbers go right
};

class table {
 public:
  explicit table(std::vector<column> columns);

  /// One cell for each column, else std::invalid_argument. An empty cell prints as "-", so that
  /// columns can be counted; control characters and broken UTF-8 (the other side may have written
  /// them) as \xNN.
  table& add_row(std::vector<std::string> cells);

  [[nodiscard]] bool empty() const noexcept { return rows_.empty(); }
  void print(std::ostream& out) const;

 private:
  std::vector<column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// `text` as a terminal may safely show it: control characters and bytes that are not UTF-8 become
/// \xNN.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace xenpv::cli
