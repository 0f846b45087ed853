// Nodes: values, children, creation and removal.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <thread>

#include "contract/store_session.hpp"

namespace xenpv::contract {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class store_node : public store_case {};

TEST_F(store_node, returns_the_value_written) {
  store_.write(node("a"), "value");
  EXPECT_EQ(store_.read(node("a")), "value");
}

TEST_F(store_node, replaces_the_value_when_written_again) {
  store_.write(node("a"), "a longer value");
  store_.write(node("a"), "short");
  EXPECT_EQ(store_.read(node("a")), "short");
}

TEST_F(store_node, is_immediately_visible_to_other_connections) {
  const store_session other;
  store_.write(node("a"), "value");
  EXPECT_EQ(other.read(node("a")), "value");
}

TEST_F(store_node, stores_nul_bytes) {
  const std::string value("\0a\0\0b\0", 6);
  store_.write(node("a"), value);
  EXPECT_EQ(store_.read(node("a")), value);
}

TEST_F(store_node, stores_every_byte_value) {
  std::string value;
  for (int i = 0; i < 256; ++i)
    value.push_back(static_cast<char>(i));
  store_.write(node("a"), value);
  EXPECT_EQ(store_.read(node("a")), value);
}

TEST_F(store_node, may_be_empty) {
  store_.write(node("a"), "");
  EXPECT_EQ(store_.read(node("a")), "");
}

TEST_F(store_node, stores_a_value_of_1500_bytes) {
  const std::string value(1500, 'v');
  store_.write(node("a"), value);
  EXPECT_EQ(store_.read(node("a")), value);
}

TEST_F(store_node, is_read_with_a_terminating_nul) {
  store_.write(node("a"), "xyz");
  unsigned length = 0;
  char* value = static_cast<char*>(xs_read(store_.get(), XBT_NULL, node("a").c_str(), &length));
  ASSERT_NE(value, nullptr);
  EXPECT_EQ(length, 3U);
  EXPECT_STREQ(value, "xyz");
  std::free(value);
}

TEST_F(store_node, fails_with_enoent_when_absent) {
  EXPECT_EQ(store_.try_read(node("absent")), failed(ENOENT));
  EXPECT_EQ(store_.try_read(node("absent/below")), failed(ENOENT));
  unsigned count = 0;
  errno = 0;
  EXPECT_EQ(xs_directory(store_.get(), XBT_NULL, node("absent").c_str(), &count), nullptr);
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(store_node, is_created_with_empty_missing_parents) {
  store_.write(node("a/b/c"), "deep");
  EXPECT_EQ(store_.read(node("a")), "");
  EXPECT_EQ(store_.read(node("a/b")), "");
  EXPECT_THAT(store_.list(node("a")), ElementsAre("b"));
}

TEST_F(store_node, may_have_both_a_value_and_children) {
  store_.write(node("a"), "value");
  store_.write(node("a/b"), "child");
  EXPECT_EQ(store_.read(node("a")), "value");
  EXPECT_THAT(store_.list(node("a")), ElementsAre("b"));
}

TEST_F(store_node, lists_its_children_by_name) {
  for (const auto* name : {"x", "y-1", "Z_2", "0"})
    store_.write(node("a/") + name, "");
  EXPECT_THAT(store_.list(node("a")), ElementsAre("0", "Z_2", "x", "y-1"));
}

TEST_F(store_node, has_an_empty_list_without_children) {
  store_.write(node("a"), "leaf");
  EXPECT_THAT(store_.list(node("a")), IsEmpty());
}

TEST_F(store_node, is_created_empty_by_mkdir) {
  ASSERT_TRUE(xs_mkdir(store_.get(), XBT_NULL, node("a/b").c_str()));
  EXPECT_EQ(store_.read(node("a/b")), "");
}

TEST_F(store_node, is_not_changed_by_mkdir_if_it_exists) {
  store_.write(node("a"), "value");
  EXPECT_TRUE(xs_mkdir(store_.get(), XBT_NULL, node("a").c_str()));
  EXPECT_EQ(store_.read(node("a")), "value");
}

TEST_F(store_node, is_removed_with_its_subtree) {
  store_.write(node("a/b/c"), "");
  store_.write(node("a/d"), "");
  store_.remove(node("a"));
  for (const auto* name : {"a", "a/b", "a/b/c", "a/d"})
    EXPECT_EQ(store_.try_read(node(name)), failed(ENOENT)) << name;
  EXPECT_THAT(store_.list(node("")), IsEmpty());
}

TEST_F(store_node, may_be_removed_if_absent_from_an_existing_parent) {
  EXPECT_TRUE(xs_rm(store_.get(), XBT_NULL, node("absent").c_str()));
  errno = 0;
  EXPECT_FALSE(xs_rm(store_.get(), XBT_NULL, node("absent/below").c_str()));
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(store_node, has_no_children_after_recreation) {
  store_.write(node("a/b"), "old");
  store_.remove(node("a"));
  store_.write(node("a"), "new");
  EXPECT_THAT(store_.list(node("a")), IsEmpty());
}

TEST_F(store_node, can_be_read_by_two_threads_on_one_connection) {
  store_.write(node("a"), "first");
  store_.write(node("b"), "second");
  const auto read_often = [&](const std::string& name, const std::string& expected) {
    for (int i = 0; i < 100; ++i)
      EXPECT_EQ(store_.read(node(name)), expected);
  };
  std::thread other([&] { read_often("a", "first"); });
  read_often("b", "second");
  other.join();
}

}  // namespace
}  // namespace xenpv::contract
