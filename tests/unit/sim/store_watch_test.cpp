#include "sim/store_watch.hpp"

#include "sim/store_connection.hpp"
#include "unit/sim/store_client.hpp"

namespace xenpv::sim {
namespace {

using namespace std::string_literals;
using test::store_client;
using wire::xs_type;

struct store_watches : test::store_fixture {
  void watch(store_client& client, const std::string& path, const std::string& token) {
    ASSERT_EQ(client.watch(path, token), "OK");
    client.events();
  }
};

TEST_F(store_watches, fire_once_when_registered) {
  EXPECT_EQ(one.watch("device", "t"), "OK");
  EXPECT_EQ(one.events(), lines{"device>t"});
  EXPECT_EQ(one.watch("/local/domain/2/secret", "u"), "OK");
  EXPECT_EQ(one.events(), lines{"/local/domain/2/secret>u"})
      << "even if it is not readable or does not exist";
  EXPECT_EQ(one.watch("@anything goes/", ""), "OK");
  EXPECT_EQ(one.events(), lines{"@anything goes/>"});
}

TEST_F(store_watches, are_acknowledged_before_they_fire) {
  const auto id = one.id();
  ASSERT_TRUE(service.receive(id, test::encode(xs_type::watch, "a\0t\0"s, 1, 0)));
  ASSERT_TRUE(service.receive(id, test::encode(xs_type::write, "a\0v"s, 2, 0)));
  const auto first = test::decode(service.take_output(id));
  ASSERT_EQ(first.size(), 3U) << "the write adds no event while an equal one is unread";
  EXPECT_EQ(first[0].header.type, xs_type::watch);
  EXPECT_EQ(first[1].header.type, xs_type::watch_event);
  EXPECT_EQ(first[2].header.type, xs_type::write);

  ASSERT_TRUE(service.receive(id, test::encode(xs_type::write, "a\0v"s, 3, 0)));
  const auto second = test::decode(service.take_output(id));
  ASSERT_EQ(second.size(), 2U);
  EXPECT_EQ(second[0].header.type, xs_type::watch_event)
      << "the event precedes the reply to its cause";
  EXPECT_EQ(second[1].header.type, xs_type::write);
}

TEST_F(store_watches, fire_for_changes_in_the_subtree) {
  watch(zero, "/local/domain/1", "base");
  watch(zero, "/local/domain/1/d/e", "e");
  watch(zero, "/local/domain/1/d/e/f/g", "leaf");
  EXPECT_EQ(one.write("d/e/f", "v"), "OK");
  EXPECT_EQ(zero.events(), (lines{"/local/domain/1/d/e/f>base", "/local/domain/1/d/e/f>e"}))
      << "implicitly created directories do not cause events";
  EXPECT_EQ(one.mkdir("d/e"), "OK");
  EXPECT_EQ(zero.events(), lines{}) << "nothing has changed";
  EXPECT_EQ(one.set_permissions("d/e/f", "n1 r2"), "OK");
  EXPECT_EQ(zero.events(), (lines{"/local/domain/1/d/e/f>base", "/local/domain/1/d/e/f>e"}));
  EXPECT_EQ(one.write("d2", "v"), "OK");
  EXPECT_EQ(zero.events(), lines{"/local/domain/1/d2>base"});
}

TEST_F(store_watches, fire_when_an_ancestor_is_removed) {
  ASSERT_EQ(one.write("d/e/f", ""), "OK");
  ASSERT_EQ(one.write("d/e/g", ""), "OK");
  watch(zero, "/local/domain/1/d/e/f", "f");
  watch(zero, "/local/domain/1/d/e/g", "g");
  watch(zero, "/local/domain/1/d/e", "e");
  watch(zero, "/local/domain/1/d/missing", "missing");
  watch(zero, "/local/domain/1", "base");
  EXPECT_EQ(one.rm("d/nothing"), "OK");
  EXPECT_EQ(zero.events(), lines{});
  EXPECT_EQ(one.rm("d"), "OK");
  EXPECT_EQ(zero.events(), (lines{"/local/domain/1/d/e/f>f", "/local/domain/1/d/e/g>g",
                                  "/local/domain/1/d/e>e", "/local/domain/1/d>base"}));
}

TEST_F(store_watches, report_paths_as_registered) {
  watch(one, "device", "relative");
  watch(one, "/local/domain/1/device", "absolute");
  EXPECT_EQ(one.write("device/vbd/51712/state", "1"), "OK");
  EXPECT_EQ(one.events(), (lines{"device/vbd/51712/state>relative",
                                 "/local/domain/1/device/vbd/51712/state>absolute"}));
  EXPECT_EQ(one.rm("device"), "OK");
  EXPECT_EQ(one.events(), (lines{"device>relative", "/local/domain/1/device>absolute"}));
}

TEST_F(store_watches, of_domain_0_may_be_relative) {
  watch(zero, "foo", "t");
  service.write("/local/domain/0/foo", "");
  EXPECT_EQ(zero.events(), lines{"foo>t"});
}

TEST_F(store_watches, are_distinguished_by_path_and_token) {
  EXPECT_EQ(one.watch("a", "t"), "OK");
  EXPECT_EQ(one.watch("a", "u"), "OK");
  EXPECT_EQ(one.watch("b", "t"), "OK");
  EXPECT_EQ(one.watch("a", "t"), "EEXIST");
  EXPECT_EQ(one.watch("/local/domain/1/a", "t"), "EEXIST") << "the same path in absolute form";
  EXPECT_EQ(service.watch_count(domid{1}), 3U);
  one.events();
  EXPECT_EQ(one.write("a", ""), "OK");
  EXPECT_EQ(one.events(), (lines{"a>t", "a>u"}));
}

TEST_F(store_watches, can_be_removed) {
  watch(one, "a", "t");
  watch(one, "a", "u");
  EXPECT_EQ(one.unwatch("a", "v"), "ENOENT");
  EXPECT_EQ(one.unwatch("b", "t"), "ENOENT");
  EXPECT_EQ(one.unwatch("not//valid", "t"), "ENOENT");
  EXPECT_EQ(one.unwatch("/local/domain/1/a", "t"), "OK");
  EXPECT_EQ(one.write("a", ""), "OK");
  EXPECT_EQ(one.events(), lines{"a>u"});
  EXPECT_EQ(one.unwatch("a", "t"), "ENOENT");
}

TEST_F(store_watches, reject_invalid_paths) {
  const std::string too_long(2049, 'a');
  for (const auto& path : {""s, "//"s, "a/"s, "a//b"s, "a b"s, too_long, "@" + too_long})
    EXPECT_EQ(one.watch(path, "t"), "EINVAL") << path.substr(0, 20);
  EXPECT_EQ(one.watch(std::string(2048, 'a'), "t"), "OK");
  EXPECT_EQ(one.watch("@" + std::string(2047, 'a'), "t"), "OK");
  EXPECT_EQ(one.watch("@" + std::string(2048, 'a'), "t"), "EINVAL");
}

TEST_F(store_watches, belong_to_one_connection) {
  store_client other(service, 1);
  watch(one, "a", "t");
  EXPECT_EQ(other.unwatch("a", "t"), "ENOENT");
  EXPECT_EQ(other.watch("a", "t"), "OK");
  other.events();
  EXPECT_EQ(other.write("a", ""), "OK");
  EXPECT_EQ(one.events(), lines{"a>t"});
  EXPECT_EQ(other.events(), lines{"a>t"});
}

TEST_F(store_watches, end_with_their_connection) {
  {
    store_client other(service, 1);
    watch(other, "a", "t");
    EXPECT_EQ(service.watch_count(domid{1}), 1U);
  }
  EXPECT_EQ(service.watch_count(domid{1}), 0U);
  EXPECT_EQ(service.connection_count(), 4U);
}

TEST_F(store_watches, can_be_reset) {
  watch(one, "a", "t");
  const auto tx = one.start();
  EXPECT_EQ(one.call(xs_type::reset_watches, "\0"s), "OK\0"s);
  EXPECT_EQ(service.watch_count(domid{1}), 0U);
  EXPECT_EQ(one.read("a", tx), "ENOENT");
  EXPECT_EQ(one.commit(tx), "ENOENT");
}

TEST_F(store_watches, can_be_reset_inside_a_transaction) {
  const auto tx = one.start();
  EXPECT_EQ(one.write("a", "", tx), "OK");
  EXPECT_EQ(one.call(xs_type::reset_watches, "\0"s, tx), "OK\0"s);
  EXPECT_EQ(one.commit(tx), "ENOENT");
}

TEST_F(store_watches, ignore_the_transaction_id) {
  EXPECT_EQ(one.call(xs_type::watch, "a\0t\0"s, 999), "OK\0"s);
  EXPECT_EQ(one.call(xs_type::unwatch, "a\0t\0"s, 999), "OK\0"s);
  EXPECT_EQ(one.call(xs_type::get_domain_path, "1\0"s, 999), "ENOENT");
  EXPECT_EQ(one.call(xs_type::reset_watches, "\0"s, 999), "ENOENT");
}

// Permissions.

TEST_F(store_watches, do_not_fire_for_nodes_that_cannot_be_read) {
  watch(one, "/local/domain/2", "t");
  EXPECT_EQ(two.write("a", ""), "OK");
  EXPECT_EQ(two.rm("a"), "OK");
  EXPECT_EQ(one.events(), lines{});
}

TEST_F(store_watches, fire_when_permission_is_gained_or_lost) {
  ASSERT_EQ(two.write("a", ""), "OK");
  watch(one, "/local/domain/2/a", "t");
  EXPECT_EQ(two.set_permissions("a", "n2 r1"), "OK");
  EXPECT_EQ(one.events(), lines{"/local/domain/2/a>t"});
  EXPECT_EQ(two.set_permissions("a", "n2"), "OK");
  EXPECT_EQ(one.events(), lines{"/local/domain/2/a>t"});
  EXPECT_EQ(two.write("a", "v"), "OK");
  EXPECT_EQ(one.events(), lines{});
}

TEST_F(store_watches, fire_for_the_nodes_of_a_readable_directory) {
  ASSERT_EQ(two.write("dir/closed", ""), "OK");
  ASSERT_EQ(two.set_permissions("dir", "n2 r1"), "OK");
  watch(one, "/local/domain/2/dir", "t");
  EXPECT_EQ(two.write("dir/closed", "v"), "OK");
  EXPECT_EQ(one.events(), lines{"/local/domain/2/dir/closed>t"});
  EXPECT_EQ(two.rm("dir/closed"), "OK");
  EXPECT_EQ(one.events(), lines{"/local/domain/2/dir/closed>t"});
}

TEST_F(store_watches, fire_for_the_removal_of_nodes_that_could_be_read) {
  ASSERT_EQ(two.write("a/b", ""), "OK");
  ASSERT_EQ(two.set_permissions("a/b", "n2 r1"), "OK");
  watch(one, "/local/domain/2/a/b", "t");
  EXPECT_EQ(two.rm("a"), "OK");
  EXPECT_EQ(one.events(), lines{"/local/domain/2/a/b>t"});
}

TEST_F(store_watches, for_domain_events_require_permission) {
  for (auto* const client : {&zero, &one}) {
    watch(*client, "@introduceDomain", "in");
    watch(*client, "@releaseDomain", "out");
  }
  service.introduce(domid{9});
  service.introduce(domid{9});
  EXPECT_EQ(zero.events(), lines{"@introduceDomain>in"})
      << "once, because the domain is already introduced";
  EXPECT_EQ(one.events(), lines{});
  EXPECT_EQ(zero.set_permissions("@releaseDomain", "n0 r1"), "OK");
  service.release(domid{9});
  service.release(domid{9});
  EXPECT_EQ(zero.events(), lines{"@releaseDomain>out"});
  EXPECT_EQ(one.events(), lines{"@releaseDomain>out"});
}

TEST_F(store_watches, on_the_root_do_not_fire_for_domain_events) {
  watch(zero, "/", "t");
  service.introduce(domid{9});
  EXPECT_EQ(zero.events(), lines{});
}

TEST_F(store_watches, let_only_domain_0_set_event_permissions) {
  EXPECT_EQ(one.set_permissions("@releaseDomain", "n1"), "EINVAL");
  EXPECT_EQ(zero.set_permissions("@somethingElse", "n0"), "EINVAL");
  EXPECT_EQ(zero.set_permissions("@introduceDomain", "n0 r1"), "OK");
}

// Clients that do not read their events.

TEST_F(store_watches, merge_equal_unread_events) {
  watch(one, "a", "t");
  for (const auto* const value : {"1", "2", "3"})
    service.write("/local/domain/1/a", value);
  service.write("/local/domain/1/a/b", "");
  service.write("/local/domain/1/a", "4");
  EXPECT_EQ(one.events(), (lines{"a>t", "a/b>t"}));
  service.write("/local/domain/1/a", "5");
  EXPECT_EQ(one.events(), lines{"a>t"});
}

TEST_F(store_watches, do_not_merge_domain_events) {
  watch(zero, "@introduceDomain", "in");
  service.introduce(domid{8});
  service.introduce(domid{9});
  EXPECT_EQ(zero.events(), (lines{"@introduceDomain>in", "@introduceDomain>in"}));
}

TEST_F(store_watches, drop_events_beyond_a_limit) {
  const std::string token(1000, 't');
  watch(zero, "/", token);
  for (int i = 0; i < 4000; ++i)
    service.write("/n" + std::to_string(i), "");
  const auto unread = service.take_output(zero.id()).size();
  EXPECT_LE(unread, store_unread_events_max);
  EXPECT_GT(unread, store_unread_events_max - 2000);
  service.write("/after", "");
  EXPECT_EQ(zero.events(), lines{"/after>" + token});
}

TEST_F(store_watches, drop_events_that_do_not_fit_into_a_message) {
  const std::string token(3000, 't');
  watch(one, "a", token);
  EXPECT_EQ(one.write("a/" + std::string(1200, 'b'), ""), "OK");
  EXPECT_EQ(one.events(), lines{});
  EXPECT_EQ(one.write("a/c", ""), "OK");
  EXPECT_EQ(one.events(), lines{"a/c>" + token});
}

}  // namespace
}  // namespace xenpv::sim
