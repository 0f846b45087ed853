#include "sim/store_path.hpp"

#include <gtest/gtest.h>

#include <string>

namespace xenpv::sim {
namespace {

TEST(store_path, accepts_paths_that_xenstored_accepts) {
  for (const std::string path : {"/", "/a", "/a/b", "/A-z_0@9", "/local/domain/1/device/vbd/51712"})
    EXPECT_TRUE(is_valid_store_path(path)) << path;
}

TEST(store_path, rejects_paths_that_xenstored_rejects) {
  for (const std::string path :
       {"", "a", "//", "/a/", "/a//b", "/a b", "/a.b", "/a:b", "@event", "/\xc3\xa4", "/a\n"})
    EXPECT_FALSE(is_valid_store_path(path)) << path;
  EXPECT_FALSE(is_valid_store_path(std::string_view("/a\0b", 4)));
}

TEST(store_path, does_not_count_the_domain_directory_as_length) {
  EXPECT_EQ(accounted_path_length("/"), 1U);
  EXPECT_EQ(accounted_path_length("/tool/xenstored"), 15U);
  EXPECT_EQ(accounted_path_length("/local/domain/12345/"), 0U);
  EXPECT_EQ(accounted_path_length("/local/domain/12345/device"), 6U);
}

TEST(store_path, counts_directories_of_no_domain_as_length) {
  for (const std::string top :
       {"/local/domain/", "/local/domain/1", "/local/domain/x1/", "/local/domain/123456/"})
    EXPECT_EQ(accounted_path_length(top + "device"), top.size() + 6) << top;
}

TEST(store_path, resolves_relative_paths_against_the_domain_directory) {
  EXPECT_EQ(resolve_store_path("device/vbd", domid{7}), "/local/domain/7/device/vbd");
  EXPECT_EQ(resolve_store_path("", domid{7}), "/local/domain/7/");
  EXPECT_EQ(resolve_store_path("/tool", domid{7}), "/tool");
  EXPECT_EQ(resolve_store_path("@releaseDomain", domid{7}), "@releaseDomain");
}

TEST(store_path, is_split_into_directory_and_name) {
  EXPECT_EQ(parent_store_path("/a/b/c"), "/a/b");
  EXPECT_EQ(parent_store_path("/a"), "/");
  EXPECT_EQ(parent_store_path("/"), "/");
  EXPECT_EQ(leaf_store_name("/a/b"), "b");
  EXPECT_EQ(leaf_store_name("/a"), "a");
  EXPECT_EQ(child_store_path("/", "a"), "/a");
  EXPECT_EQ(child_store_path("/a", "b"), "/a/b");
}

TEST(store_path, is_within_itself_and_its_ancestors_only) {
  EXPECT_TRUE(is_within_store_path("/a", "/a"));
  EXPECT_TRUE(is_within_store_path("/a/b/c", "/a"));
  EXPECT_TRUE(is_within_store_path("/a", "/"));
  EXPECT_FALSE(is_within_store_path("/ab", "/a"));
  EXPECT_FALSE(is_within_store_path("/a", "/a/b"));
}

}  // namespace
}  // namespace xenpv::sim
