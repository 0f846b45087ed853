// Shared by the doctor's check tests: snapshots of captures, and result rows by ID.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "doctor/guest_snapshot.hpp"
#include "unit/channels/captured_tree.hpp"

namespace xenpv::doctor::test {

inline guest_snapshot snapshot_of(const std::string& capture) {
  return take_snapshot(xenpv::test::captured_tree(capture).place());
}

/// A capture that holds only a kernel log with these lines.
inline guest_snapshot with_log(std::vector<std::string> lines) {
  guest_snapshot out;
  out.is_capture = true;
  out.log.lines = std::move(lines);
  out.identity = identify_guest(out.from, out.kernel, out.log);
  out.online = cpus_in_log(out.log);
  return out;
}

inline check_result row(const guest_snapshot& snapshot, std::string_view id) {
  for (const auto& entry : run_checks(snapshot))
    if (entry.id == id) return entry;
  ADD_FAILURE() << "no row " << id;
  return {};
}

inline bool has_row(const guest_snapshot& snapshot, std::string_view id) {
  return std::ranges::any_of(run_checks(snapshot), [&](const auto& row) { return row.id == id; });
}

inline std::string value_of(const check_result& row, std::string_view source) {
  for (const auto& entry : row.evidence)
    if (entry.source == source) return entry.value;
  return "(no such evidence)";
}

inline channels::interrupt_row& kernel_row(guest_snapshot& snapshot, std::string_view label) {
  for (auto& entry : snapshot.from.interrupts.value->rows)
    if (entry.label == label) return entry;
  throw std::runtime_error("no row " + std::string(label));
}

}  // namespace xenpv::doctor::test
