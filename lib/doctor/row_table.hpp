// The doctor's rows and their subjects: one table, for the manual page and for users of --json.
#pragma once

#include <span>
#include <string_view>

namespace xenpv::doctor {

struct row_description {
  std::string_view id;       ///< the check_result's id; "disk-DISK" stands for one row per disk
  std::string_view subject;  ///< the question that the row answers
};

/// All rows, in the order of the report.
[[nodiscard]] std::span<const row_description> row_table() noexcept;

/// The entry for a row's id; nullptr if there is none.
[[nodiscard]] const row_description* find_row(std::string_view id) noexcept;

}  // namespace xenpv::doctor
