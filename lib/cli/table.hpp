// Aligned text columns for users and for awk: one header line, one line per row, two spaces between
// columns, no trailing spaces. No colours, no truncation.
#pragma once

#include <fmt/format.h>

#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/utf8.hpp"

namespace xenpv::cli {

using xenpv::printable;

enum class align { left, right };

struct column {
  std::string title;
  align side = align::left;  ///< right for numbers
};
/// A column of numbers.
[[nodiscard]] inline column right_column(std::string title) {
  return {std::move(title), align::right};
}

class table {
 public:
  explicit table(std::vector<column> columns);

  /// Takes one cell per column; otherwise throws std::invalid_argument. An empty cell prints as
  /// "-", so that columns can be counted; control characters and invalid UTF-8 (possibly from
  /// another domain) print as \xNN.
  table& add_row(std::vector<std::string> cells);

  [[nodiscard]] bool empty() const noexcept { return rows_.empty(); }
  void print(std::ostream& out) const;

 private:
  std::vector<column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

inline void add_cells(std::vector<std::string>& out, const std::vector<std::string>& cells) {
  out.insert(out.end(), cells.begin(), cells.end());
}
template <class T>
void add_cells(std::vector<std::string>& out, const T& value) {
  out.push_back(fmt::format("{}", value));
}
template <class T>
void add_cells(std::vector<std::string>& out, const std::optional<T>& value) {
  out.push_back(value ? fmt::format("{}", *value) : std::string());
}
/// Returns the cells of a row. Each value yields one cell, which is empty for an unset optional; a
/// vector yields several cells.
template <class... Values>
[[nodiscard]] std::vector<std::string> cells_of(const Values&... values) {
  std::vector<std::string> out;
  out.reserve(sizeof...(values));
  (add_cells(out, values), ...);
  return out;
}

}  // namespace xenpv::cli
