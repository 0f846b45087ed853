#include "async/port_table.hpp"

#include <gmock/gmock.h>

namespace xenpv::async {
namespace {

using ::testing::ElementsAre;

TEST(port_table, finds_only_inserted_ports) {
  port_table<int> table;
  int seven = 0;
  int big = 0;
  EXPECT_TRUE(table.insert(port(7), seven));
  EXPECT_TRUE(table.insert(port(131071), big));
  EXPECT_EQ(table.find(port(7)), &seven);
  EXPECT_EQ(table.find(port(131071)), &big);
  EXPECT_EQ(table.find(port(8)), nullptr);
  EXPECT_EQ(table.find(port(0)), nullptr);
  EXPECT_EQ(table.find(port(0xFFFFFFFF)), nullptr);
}

TEST(port_table, refuses_invalid_and_taken_numbers) {
  port_table<int> table;
  int a = 0;
  int b = 0;
  EXPECT_FALSE(table.insert(port(0), a));
  EXPECT_FALSE(table.insert(port(131072), a));
  EXPECT_TRUE(table.insert(port(1), a));
  EXPECT_FALSE(table.insert(port(1), b));
  EXPECT_EQ(table.find(port(1)), &a);
}

TEST(port_table, finds_no_erased_port) {
  port_table<int> table;
  int a = 0;
  EXPECT_TRUE(table.insert(port(3), a));
  table.erase(port(3));
  table.erase(port(3));
  table.erase(port(9999));
  EXPECT_EQ(table.find(port(3)), nullptr);
  EXPECT_TRUE(table.insert(port(3), a));
}

TEST(port_table, take_all_empties_it) {
  port_table<int> table;
  int a = 0;
  int b = 0;
  EXPECT_TRUE(table.insert(port(5), b));
  EXPECT_TRUE(table.insert(port(2), a));
  EXPECT_THAT(table.take_all(), ElementsAre(&a, &b));
  EXPECT_EQ(table.find(port(2)), nullptr);
  EXPECT_TRUE(table.take_all().empty());
}

}  // namespace
}  // namespace xenpv::async
