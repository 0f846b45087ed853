// The doctor's rows: one table for run_checks(), the man page and users of --json.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "doctor/guest_snapshot.hpp"

namespace xenpv::doctor {

struct row_description {
  std::string_view id;       ///< check_result id; "disk-DISK" stands for one row per disk
  std::string_view subject;  ///< the question that the row answers
  /// The check that adds this row and the following rows without a check; null: an earlier row's
  /// check adds this row.
  void (*check)(const guest_snapshot& snapshot, std::vector<check_result>& out) = nullptr;
  bool applies_outside_xen = false;
};

/// Returns all rows in the order of the report.
[[nodiscard]] std::span<const row_description> row_table() noexcept;

/// Returns the entry for a row id, or nullptr if there is none.
[[nodiscard]] const row_description* find_row(std::string_view id) noexcept;

}  // namespace xenpv::doctor
