// The doctor's rows and their subjects: one table for both the man page and users of --json.
#pragma once

#include <span>
#include <string_view>

namespace xenpv::doctor {

struct row_description {
  std::string_view id;       ///< check_result id; "disk-DISK" stands for one row per disk
  std::string_view subject;  ///< the question that the row answers
};

/// Returns all rows in the order of the report.
[[nodiscard]] std::span<const row_description> row_table() noexcept;

/// Returns the entry for a row id, or nullptr if there is none.
[[nodiscard]] const row_description* find_row(std::string_view id) noexcept;

}  // namespace xenpv::doctor
