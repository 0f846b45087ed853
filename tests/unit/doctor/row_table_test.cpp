#include "doctor/row_table.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "unit/doctor/checks_rig.hpp"

namespace xenpv::doctor {
namespace {

TEST(row_table, lists_every_row_of_every_capture) {
  for (const auto* capture : {"pv", "pv-doctor", "pv-open", "pvh", "hvm-vector", "hvm-intx", "dom0",
                              "cpus-64", "old-kernel", "arm", "dead-vif", "pv-log-only",
                              "hvm-no-platform", "grants-exhausted", "dom0-stuck"})
    for (const auto& row : run_checks(test::snapshot_of(capture)))
      EXPECT_NE(find_row(row.id), nullptr) << capture << ": " << row.id;
}

TEST(row_table, has_each_row_once) {
  std::set<std::string_view> ids;
  for (const auto& row : row_table())
    EXPECT_TRUE(ids.insert(row.id).second) << row.id;
}

TEST(row_table, has_one_entry_for_the_rows_of_all_disks) {
  EXPECT_EQ(find_row("disk-xvda"), find_row("disk-xvdb"));
  EXPECT_NE(find_row("disk-xvda"), find_row("flush-xvda"));
  EXPECT_EQ(find_row("network"), nullptr);
}

}  // namespace
}  // namespace xenpv::doctor
