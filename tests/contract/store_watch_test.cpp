// Watches: when they fire, which path they report, and when they end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <thread>

#include "contract/raw_store.hpp"
#include "contract/store_session.hpp"

namespace xenpv::contract {
namespace {

class store_watch : public store_case {
 protected:
  [[nodiscard]] store_event event(std::string_view name, const std::string& token) const {
    return {node(name), token};
  }
};

TEST_F(store_watch, fires_at_registration) {
  ASSERT_TRUE(xs_watch(store_.get(), node("a").c_str(), "token"));
  EXPECT_EQ(store_.take_event(), event("a", "token")) << "even though the node does not exist";
}

TEST_F(store_watch, fires_once_at_registration) {
  watch_fence(store_);
  store_.watch(node("a"), "token");
  EXPECT_TRUE(nothing_before_fence(store_));
}

TEST_F(store_watch, reports_absolute_paths_if_registered_with_one) {
  store_.watch(absolute("a"), "token");
  store_.write(node("a"), "");
  EXPECT_EQ(store_.take_event(), (store_event{absolute("a"), "token"}));
}

TEST_F(store_watch, reports_relative_paths_if_registered_with_one) {
  store_.watch(node("a"), "token");
  store_.write(absolute("a"), "");
  EXPECT_EQ(store_.take_event(), event("a", "token"));
}

TEST_F(store_watch, fires_for_the_subtree_with_the_changed_path) {
  store_.watch(node("a"), "token");
  store_.write(node("a/b/c"), "");
  // xenstored may also fire events for the parents that it created.
  auto got = store_.take_event();
  while (got && got->path != node("a/b/c"))
    got = store_.take_event();
  EXPECT_EQ(got, event("a/b/c", "token"));
}

TEST_F(store_watch, does_not_fire_for_names_with_a_common_prefix) {
  watch_fence(store_);
  store_.watch(node("a"), "token");
  store_.write(node("ab"), "");
  EXPECT_TRUE(nothing_before_fence(store_));
}

TEST_F(store_watch, does_not_fire_for_reads) {
  store_.write(node("a"), "value");
  watch_fence(store_);
  store_.watch(node("a"), "token");
  ASSERT_EQ(store_.read(node("a")), "value");
  ASSERT_THAT(store_.list(node("a")), testing::IsEmpty());
  EXPECT_TRUE(nothing_before_fence(store_));
}

TEST_F(store_watch, fires_for_a_write_of_the_same_value) {
  store_.write(node("a"), "value");
  store_.watch(node("a"), "token");
  store_.write(node("a"), "value");
  EXPECT_EQ(store_.take_event(), event("a", "token"));
}

TEST_F(store_watch, fires_for_writes_of_other_connections) {
  store_.watch(node("a"), "token");
  const store_session other;
  other.write(node("a"), "");
  EXPECT_EQ(store_.take_event(), event("a", "token"));
}

TEST_F(store_watch, fires_for_removal) {
  store_.write(node("a"), "");
  store_.watch(node("a"), "token");
  store_.remove(node("a"));
  EXPECT_EQ(store_.take_event(), event("a", "token"));
}

TEST_F(store_watch, fires_for_a_child_removed_with_its_parent) {
  store_.write(node("a/b"), "");
  store_.watch(node("a/b"), "token");
  store_.remove(node("a"));
  EXPECT_EQ(store_.take_event(), event("a/b", "token"));
}

TEST_F(store_watch, fires_for_changed_permissions) {
  store_.write(node("a"), "");
  store_.watch(node("a"), "token");
  xs_permissions list{own_domid(), XS_PERM_READ};
  ASSERT_TRUE(xs_set_permissions(store_.get(), XBT_NULL, node("a").c_str(), &list, 1));
  EXPECT_EQ(store_.take_event(), event("a", "token"));
}

TEST_F(store_watch, does_not_fire_for_mkdir_of_an_existing_node) {
  store_.write(node("a"), "");
  watch_fence(store_);
  store_.watch(node("a"), "token");
  ASSERT_TRUE(xs_mkdir(store_.get(), XBT_NULL, node("a").c_str()));
  EXPECT_TRUE(nothing_before_fence(store_));
}

TEST_F(store_watch, fires_once_per_matching_watch) {
  store_.watch(node("a"), "outer");
  store_.watch(node("a/b"), "inner");
  store_.write(node("a"), "");
  ASSERT_EQ(store_.take_event(), event("a", "outer"));
  store_.write(node("a/b"), "");
  const auto first = store_.take_event();
  const auto second = store_.take_event();
  ASSERT_TRUE(first && second);
  EXPECT_THAT((std::vector{*first, *second}),
              testing::UnorderedElementsAre(event("a/b", "outer"), event("a/b", "inner")));
}

TEST_F(store_watch, is_distinguished_by_its_token) {
  store_.watch(node("a"), "one");
  store_.watch(node("a"), "two");
  store_.write(node("a"), "");
  const auto first = store_.take_event();
  const auto second = store_.take_event();
  ASSERT_TRUE(first && second);
  EXPECT_THAT((std::vector{first->token, second->token}),
              testing::UnorderedElementsAre("one", "two"));
}

TEST_F(store_watch, stops_with_unwatch) {
  watch_fence(store_);
  store_.watch(node("a"), "token");
  ASSERT_TRUE(xs_unwatch(store_.get(), node("a").c_str(), "token"));
  store_.write(node("a"), "");
  EXPECT_TRUE(nothing_before_fence(store_));
}

TEST_F(store_watch, is_removed_without_other_watches_of_the_node) {
  store_.watch(node("a"), "one");
  store_.watch(node("a"), "two");
  ASSERT_TRUE(xs_unwatch(store_.get(), node("a").c_str(), "one"));
  store_.write(node("a"), "");
  EXPECT_EQ(store_.take_event(), event("a", "two"));
}

TEST_F(store_watch, leaves_no_stale_events_with_the_unwatch_filter) {
  const store_session filtering(XS_UNWATCH_FILTER);
  watch_fence(filtering);
  filtering.watch(node("a"), "unique");
  for (int i = 0; i < 10; ++i)
    filtering.write(node("a"), std::to_string(i));
  ASSERT_TRUE(xs_unwatch(filtering.get(), node("a").c_str(), "unique"));
  EXPECT_TRUE(nothing_before_fence(filtering));
}

TEST_F(store_watch, cannot_be_registered_twice_on_a_socket) {
  if (!store_is_a_socket())
    GTEST_SKIP() << "/dev/xen/xenbus replaces the tokens and accepts both watches";
  store_.watch(node("a"), "token");
  errno = 0;
  EXPECT_FALSE(xs_watch(store_.get(), node("a").c_str(), "token"));
  EXPECT_EQ(errno, EEXIST);
}

TEST_F(store_watch, cannot_be_removed_if_absent_on_a_socket) {
  if (!store_is_a_socket())
    GTEST_SKIP() << "/dev/xen/xenbus replies OK to the removal of any watch";
  errno = 0;
  EXPECT_FALSE(xs_unwatch(store_.get(), node("a").c_str(), "token"));
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(store_watch, may_be_registered_identically_by_two_connections) {
  const store_session other;
  store_.watch(node("a"), "token");
  other.watch(node("a"), "token");
  store_.write(node("a"), "");
  EXPECT_EQ(store_.take_event(), event("a", "token"));
  EXPECT_EQ(other.take_event(), event("a", "token"));
}

TEST_F(store_watch, fails_with_eagain_without_a_pending_event) {
  errno = 0;
  EXPECT_EQ(xs_check_watch(store_.get()), nullptr) << "before any watch";
  EXPECT_EQ(errno, EAGAIN);
  store_.watch(node("a"), "token");
  errno = 0;
  EXPECT_EQ(xs_check_watch(store_.get()), nullptr);
  EXPECT_EQ(errno, EAGAIN);
}

TEST_F(store_watch, makes_the_descriptor_readable_while_events_are_pending) {
  const int descriptor = xs_fileno(store_.get());
  ASSERT_GE(descriptor, 0);
  store_.watch(node("a"), "token");
  EXPECT_FALSE(readable_within(descriptor, quiet));
  store_.write(node("a"), "");
  EXPECT_TRUE(readable_within(descriptor, time_limit));
  EXPECT_EQ(store_.take_event(), event("a", "token"));
  EXPECT_FALSE(readable_within(descriptor, quiet));
}

TEST_F(store_watch, wakes_a_thread_that_blocks_in_read_watch) {
  store_.watch(node("a"), "token");
  std::thread writer([&] {
    const store_session other;
    other.write(node("a"), "");
  });
  unsigned count = 0;
  char** got = xs_read_watch(store_.get(), &count);
  writer.join();
  ASSERT_NE(got, nullptr);
  EXPECT_EQ(got[XS_WATCH_PATH], node("a"));
  EXPECT_STREQ(got[XS_WATCH_TOKEN], "token");
  std::free(got);
}

TEST_F(store_watch, keeps_events_in_the_order_of_the_changes) {
  store_.watch(node("a"), "token");
  for (int i = 0; i < 20; ++i)
    store_.write(node("a/") + std::to_string(i), "");
  std::vector<std::string> seen;
  while (seen.size() < 20) {
    const auto got = store_.take_event();
    ASSERT_TRUE(got) << "only " << seen.size() << " events received";
    if (got->path != node("a")) seen.push_back(got->path);
  }
  for (std::size_t i = 0; i < seen.size(); ++i)
    EXPECT_EQ(seen[i], node("a/") + std::to_string(i));
}

TEST_F(store_watch, ends_with_its_connection) {
  store_session other;
  other.watch(node("a"), "token");
  other.close();
  watch_fence(store_);
  store_.write(node("a"), "");
  EXPECT_TRUE(nothing_before_fence(store_)) << "a watch belongs to one connection";
}

TEST_F(store_watch, fails_for_an_invalid_path_on_a_socket) {
  if (!store_is_a_socket())
    GTEST_SKIP() << "with /dev/xen/xenbus, a rejected watch breaks libxenstore's connection";
  errno = 0;
  EXPECT_FALSE(xs_watch(store_.get(), node("a//b").c_str(), "token"));
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(store_watch, has_no_depth_on_a_socket) {
  if (!store_is_a_socket())
    GTEST_SKIP() << "with /dev/xen/xenbus, the kernel itself sends the request to xenstored";
  if (xen_minor_version() > 20) GTEST_SKIP() << "later releases introduce the depth of a watch";
  const raw_store raw;
  const auto request = absolute("a") + '\0' + "token" + '\0';
  EXPECT_EQ(raw.call(XS_WATCH, request + "1" + '\0'), "EINVAL");
  EXPECT_EQ(raw.call(XS_WATCH, request), std::string("OK\0", 3));
}

}  // namespace
}  // namespace xenpv::contract
