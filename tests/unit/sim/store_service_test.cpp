// The service as used by the host: connections, domain lifetime, direct access, faults.
#include "sim/store_service.hpp"

#include <cerrno>

#include "unit/sim/store_client.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim {
namespace {

using namespace std::string_literals;
using test::store_client;
using wire::xs_type;

struct store_services : test::store_fixture {};

// Connections.

TEST_F(store_services, answer_fragmented_requests) {
  auto bytes = test::encode(xs_type::write, "a\0v"s, 1, 0);
  for (const auto& more :
       {test::encode(xs_type::watch, "a\0t\0"s, 2, 0), test::encode(xs_type::read, "a\0"s, 3, 0),
        test::encode(xs_type::transaction_start, "", 4, 0),
        test::encode(xs_type::write, "b\0w"s, 5, 1),
        test::encode(xs_type::transaction_end, "T\0"s, 6, 1),
        test::encode(xs_type::read, "b\0"s, 7, 0)})
    bytes.insert(bytes.end(), more.begin(), more.end());
  ASSERT_TRUE(service.receive(one.id(), bytes));
  const auto whole = service.take_output(one.id());
  ASSERT_EQ(test::decode(whole).size(), 8U);

  store_service twin;
  twin.write("/local/domain/1", "");
  twin.set_permissions("/local/domain/1", std::vector{store_permission{domid{1}}});
  const auto id = twin.attach(domid{1});
  for (const auto byte : bytes)
    ASSERT_TRUE(twin.receive(id, std::span(&byte, 1)));
  EXPECT_EQ(twin.take_output(id), whole);
}

TEST_F(store_services, reject_a_connection_that_violates_the_protocol) {
  ASSERT_EQ(one.watch("a", "t"), "OK");
  one.events();
  auto bytes = test::encode(xs_type::write, "a\0v"s, 1, 0);
  const auto bad = test::encode(xs_type::write, std::string(4097, 'v'), 2, 0);
  bytes.insert(bytes.end(), bad.begin(), bad.begin() + 16);
  EXPECT_FALSE(service.receive(one.id(), bytes)) << "the header alone violates the protocol";
  EXPECT_EQ(service.watch_count(domid{1}), 0U);
  EXPECT_EQ(zero.read("/local/domain/1/a"), "v") << "the previous request must take effect";
  EXPECT_FALSE(service.receive(one.id(), test::encode(xs_type::read, "a\0"s, 3, 0)));
}

TEST_F(store_services, echo_the_ids_of_the_request) {
  ASSERT_TRUE(service.receive(one.id(), test::encode(xs_type::read, "a\0"s, 0xDEADBEEF, 77)));
  const auto replies = test::decode(service.take_output(one.id()));
  ASSERT_EQ(replies.size(), 1U);
  EXPECT_EQ(replies[0].header.type, xs_type::error);
  EXPECT_EQ(replies[0].header.req_id, 0xDEADBEEFU);
  EXPECT_EQ(replies[0].header.tx_id, 77U);
  EXPECT_EQ(replies[0].payload, "ENOENT\0"s);
}

TEST_F(store_services, list_the_connections_with_output) {
  ASSERT_EQ(one.watch("a", "t"), "OK");
  ASSERT_EQ(two.watch("a", "t"), "OK");
  one.events();
  two.events();
  EXPECT_TRUE(service.take_ready().empty());
  service.write("/local/domain/1/a", "1");
  service.write("/local/domain/1/a/b", "2");
  EXPECT_EQ(service.take_ready(), std::vector{one.id()}) << "listed only once";
  EXPECT_TRUE(service.take_ready().empty());
  service.write("/local/domain/1/a/c", "2");
  EXPECT_EQ(service.take_ready(), std::vector{one.id()}) << "listed again for more output";
  service.write("/local/domain/1/a/d", "2");
  EXPECT_EQ(one.events(), (lines{"a>t", "a/b>t", "a/c>t", "a/d>t"}));
  EXPECT_TRUE(service.take_ready().empty()) << "all output has been taken";
}

TEST_F(store_services, ignore_detached_connections) {
  store_service::connection_id id{};
  {
    store_client other(service, 1);
    id = other.id();
    ASSERT_EQ(other.watch("a", "t"), "OK");
    service.write("/local/domain/1/a", "1");
  }
  EXPECT_TRUE(service.take_ready().empty());
  EXPECT_TRUE(service.take_output(id).empty());
  EXPECT_FALSE(service.receive(id, {}));
  service.detach(id);
  EXPECT_EQ(service.connection_count(), 4U);
}

// Domains.

TEST_F(store_services, report_whether_a_domain_is_introduced) {
  EXPECT_TRUE(service.is_introduced(domid_0));
  EXPECT_TRUE(service.is_introduced(domid{1}));
  EXPECT_FALSE(service.is_introduced(domid{9}));
  const auto ask = [this](const std::string& number) {
    return zero.call(xs_type::is_domain_introduced, number + '\0');
  };
  EXPECT_EQ(ask("0"), "T\0"s);
  EXPECT_EQ(ask("1"), "T\0"s);
  EXPECT_EQ(ask("9"), "F\0"s);
  EXPECT_EQ(ask("65537"), "F\0"s) << "not domain 1";
  EXPECT_EQ(ask("32752"), "T\0"s) << "DOMID_SELF";
  EXPECT_EQ(zero.call(xs_type::is_domain_introduced, "1"), "EINVAL");
}

TEST_F(store_services, introduce_domains_over_the_wire) {
  ASSERT_EQ(zero.watch("@introduceDomain", "in"), "OK");
  zero.events();
  EXPECT_EQ(zero.call(xs_type::introduce,
                      "9\0"
                      "1\0"
                      "2\0"s),
            "OK\0"s);
  EXPECT_EQ(zero.events(), lines{"@introduceDomain>in"});
  EXPECT_TRUE(service.is_introduced(domid{9}));
  EXPECT_EQ(zero.call(xs_type::introduce,
                      "9\0"
                      "1\0"
                      "2\0"s),
            "OK\0"s);
  EXPECT_EQ(zero.events(), lines{});
  EXPECT_EQ(zero.call(xs_type::introduce,
                      "8\0"
                      "1\0"
                      "0\0"s),
            "EINVAL");
  EXPECT_EQ(zero.call(xs_type::introduce,
                      "8\0"
                      "1\0"s),
            "EINVAL");
  EXPECT_EQ(zero.call(xs_type::introduce,
                      "65537\0"
                      "1\0"
                      "1\0"s),
            "EINVAL");
}

TEST_F(store_services, release_domains_over_the_wire) {
  ASSERT_EQ(zero.watch("@releaseDomain", "out"), "OK");
  zero.events();
  EXPECT_EQ(zero.call(xs_type::release, "0\0"s), "EINVAL");
  EXPECT_EQ(zero.call(xs_type::release, "9\0"s), "ENOENT");
  EXPECT_EQ(zero.call(xs_type::release, "65537\0"s), "ENOENT");
  EXPECT_EQ(zero.call(xs_type::release, "3"s), "EINVAL");
  EXPECT_EQ(zero.events(), lines{});
  EXPECT_EQ(zero.call(xs_type::release, "3\0"s), "OK\0"s);
  EXPECT_EQ(zero.events(), lines{"@releaseDomain>out"});
  EXPECT_FALSE(service.is_introduced(domid{3}));
}

TEST_F(store_services, resume_only_introduced_domains_over_the_wire) {
  EXPECT_EQ(zero.call(xs_type::resume, "1\0"s), "OK\0"s);
  EXPECT_EQ(zero.call(xs_type::resume, "9\0"s), "ENOENT");
  EXPECT_EQ(zero.call(xs_type::resume, "0\0"s), "EINVAL");
}

TEST_F(store_services, remove_the_nodes_of_a_released_domain) {
  ASSERT_EQ(three.write("own/x", ""), "OK");
  service.write("/local/domain/3/own/by-domain-0", "");
  service.write("/shared", "");
  ASSERT_EQ(zero.watch("/local/domain/3/own", "own"), "OK");
  ASSERT_EQ(zero.watch("/local/domain/3", "top"), "OK");
  ASSERT_EQ(zero.watch("@releaseDomain", "out"), "OK");
  zero.events();
  service.release(domid{3});
  EXPECT_EQ(zero.events(),
            (lines{"/local/domain/3/own>own", "/local/domain/3>top", "@releaseDomain>out"}));
  EXPECT_EQ(zero.directory("/local/domain"), "1 2");
  EXPECT_EQ(zero.read("/shared"), "");
  EXPECT_EQ(service.node_count(domid{3}), 0U);
}

TEST_F(store_services, void_the_permissions_of_a_released_domain) {
  service.write("/shared", "v");
  service.set_permissions("/shared",
                          std::vector{store_permission{domid_0}, {domid{3}, true, true}});
  EXPECT_EQ(three.read("/shared"), "v");
  service.release(domid{3});
  service.introduce(domid{3});
  EXPECT_EQ(three.read("/shared"), "EACCES") << "another domain with the same ID";
  service.write("/shared", "w");
  service.write("/shared/child", "");
  EXPECT_EQ(three.read("/shared"), "EACCES");
  EXPECT_EQ(three.read("/shared/child"), "EACCES") << "inherited from void permissions";
  service.set_permissions("/shared", std::vector{store_permission{domid_0}, {domid{3}, true}});
  EXPECT_EQ(three.read("/shared"), "w");
}

TEST_F(store_services, never_release_domain_0) {
  service.release(domid_0);
  EXPECT_TRUE(service.is_introduced(domid_0));
  EXPECT_EQ(zero.directory("/tool"), "xenstored");
}

TEST_F(store_services, let_a_domain_act_on_behalf_of_its_target) {
  ASSERT_EQ(two.write("private", "v"), "OK");
  EXPECT_EQ(one.read("/local/domain/2/private"), "EACCES");
  EXPECT_EQ(zero.call(xs_type::set_target,
                      "1\0"
                      "2\0"s),
            "OK\0"s);
  EXPECT_EQ(one.read("/local/domain/2/private"), "v");
  EXPECT_EQ(one.set_permissions("/local/domain/2/private", "n2 r3"), "OK");
  EXPECT_EQ(one.set_permissions("/local/domain/2/private", "n1"), "EPERM");
  EXPECT_EQ(one.write("/local/domain/2/new", ""), "OK");
  EXPECT_EQ(zero.permissions("/local/domain/2/new"), "n1");
  EXPECT_EQ(zero.call(xs_type::set_target,
                      "1\0"
                      "9\0"s),
            "ENOENT");
  EXPECT_EQ(zero.call(xs_type::set_target, "1\0"s), "EINVAL");
  service.release(domid{2});
  service.introduce(domid{2});
  service.write("/local/domain/2/next", "");
  service.set_permissions("/local/domain/2/next", std::vector{store_permission{domid{2}}});
  EXPECT_EQ(one.read("/local/domain/2/next"), "EACCES") << "the target was the previous domain 2";
}

// Save and restore.

TEST_F(store_services, move_connections_to_the_new_domain_id_after_a_restore) {
  ASSERT_EQ(one.write("a", "old"), "OK");
  service.introduce(domid{7});
  service.write("/local/domain/7/a", "new");
  service.set_permissions("/local/domain/7/a", std::vector{store_permission{domid{7}}});
  service.resume(domid{1}, domid{7});
  EXPECT_EQ(one.read("a"), "new");
  EXPECT_EQ(one.read("/local/domain/1/a"), "EACCES");
}

TEST_F(store_services, fire_every_watch_once_after_a_restore) {
  ASSERT_EQ(one.watch("device", "relative"), "OK");
  ASSERT_EQ(one.watch("/tool", "absolute"), "OK");
  ASSERT_EQ(one.watch("@releaseDomain", "special"), "OK");
  ASSERT_EQ(two.watch("device", "other"), "OK");
  one.events();
  two.events();
  EXPECT_TRUE(service.take_ready().empty());
  service.resume(domid{1}, domid{7});
  EXPECT_EQ(service.take_ready(), std::vector{one.id()});
  EXPECT_EQ(one.events(), (lines{"device>relative", "/tool>absolute", "@releaseDomain>special"}));
  EXPECT_EQ(two.events(), lines{});
  EXPECT_EQ(service.watch_count(domid{1}), 0U);
  EXPECT_EQ(service.watch_count(domid{7}), 3U);
}

TEST_F(store_services, resolve_relative_watches_against_the_new_directory) {
  ASSERT_EQ(one.watch("device", "t"), "OK");
  service.write("/local/domain/7", "");
  service.set_permissions("/local/domain/7", std::vector{store_permission{domid{7}}});
  service.resume(domid{1}, domid{7});
  one.events();
  service.write("/local/domain/1/device/x", "");
  EXPECT_EQ(one.events(), lines{});
  service.write("/local/domain/7/device/x", "");
  EXPECT_EQ(one.events(), lines{"device/x>t"});
  EXPECT_EQ(one.unwatch("device", "t"), "OK");
}

TEST_F(store_services, invalidate_transactions_started_before_a_restore) {
  const auto committed = one.start();
  const auto aborted = one.start();
  EXPECT_EQ(one.write("a", "v", committed), "OK");
  service.resume(domid{1}, domid{1});
  EXPECT_EQ(one.write("b", "v", committed), "ENOENT")
      << "the transaction does not exist in the new store";
  EXPECT_EQ(one.commit(committed), "EAGAIN");
  EXPECT_EQ(one.commit(committed), "ENOENT");
  EXPECT_EQ(one.abort(aborted), "OK");
  EXPECT_EQ(one.read("a"), "ENOENT");
  const auto fresh = one.start();
  EXPECT_EQ(one.write("a", "v", fresh), "OK");
  EXPECT_EQ(one.commit(fresh), "OK");
}

// Direct access.

TEST_F(store_services, give_the_toolstack_the_rights_of_domain_0) {
  service.write("/local/domain/1/device/vbd/51728/state", "1");
  EXPECT_EQ(service.read("/local/domain/1/device/vbd/51728/state"), "1");
  EXPECT_EQ(service.read("/local/domain/1/missing"), std::nullopt);
  EXPECT_EQ(service.list("/local/domain/1/device/vbd"), lines{"51728"});
  EXPECT_EQ(service.list("/local/domain/1/missing"), lines{});
  EXPECT_EQ(zero.permissions("/local/domain/1/device"), "n1") << "inherited from the directory";
  service.remove("/local/domain/1/device");
  EXPECT_EQ(service.list("/local/domain/1"), lines{});
  service.remove("/local/domain/1/device");
  service.remove("/local/domain/1/device/vbd");
}

TEST_F(store_services, resolve_relative_paths_of_the_toolstack_for_domain_0) {
  service.write("backend/x", "v");
  EXPECT_EQ(service.read("/local/domain/0/backend/x"), "v");
  EXPECT_EQ(service.list("backend"), lines{"x"});
}

template <class Action>
std::string failure_of(Action action) {
  try {
    action();
  } catch (const failure& e) {
    return e.what();
  }
  return "no failure";
}

TEST_F(store_services, report_errors_to_the_toolstack) {
  EXPECT_EQ(failure_of([&] { service.write("/a//b", ""); }),
            "write /a//b in the simulated xenstore: invalid argument");
  EXPECT_EQ(failure_of([&] { service.remove("/"); }),
            "remove / in the simulated xenstore: invalid argument");
  EXPECT_EQ(failure_of([&] { service.set_permissions("/a", {}); }),
            "set permissions of /a in the simulated xenstore: invalid argument");
  EXPECT_EQ(failure_of([&] { service.set_permissions("/a", std::vector<store_permission>(1)); }),
            "set permissions of /a in the simulated xenstore: no such file or directory");
}

TEST_F(store_services, let_the_toolstack_allow_domain_events) {
  service.set_permissions("@introduceDomain",
                          std::vector{store_permission{domid_0}, {domid{1}, true}});
  ASSERT_EQ(one.watch("@introduceDomain", "in"), "OK");
  one.events();
  service.introduce(domid{9});
  EXPECT_EQ(one.events(), lines{"@introduceDomain>in"});
}

// Faults.

TEST_F(store_services, fail_every_nth_request_of_guests) {
  service.set_faults({.fail_every = 3});
  lines replies;
  for (int i = 0; i < 7; ++i) {
    EXPECT_EQ(zero.write("/n", ""), "OK");
    replies.push_back(i % 2 == 0 ? one.write("a", "") : two.write("a", ""));
  }
  EXPECT_EQ(replies, (lines{"OK", "OK", "EIO", "OK", "OK", "EIO", "OK"}));
  service.set_faults({});
  for (int i = 0; i < 7; ++i)
    EXPECT_EQ(one.write("a", ""), "OK");
}

TEST_F(store_services, do_not_execute_requests_that_they_fail) {
  service.set_faults({.fail_every = 1, .fail_errno = ENOMEM});
  EXPECT_EQ(one.write("a", "v"), "ENOMEM");
  EXPECT_EQ(service.read("/local/domain/1/a"), std::nullopt);
  service.set_faults({.fail_every = 2});
  const auto tx = one.start();
  EXPECT_EQ(one.commit(tx), "EIO");
  service.set_faults({});
  EXPECT_EQ(one.commit(tx), "ENOENT") << "a failed commit also ends the transaction";
}

TEST_F(store_services, reset_the_counters_with_new_faults) {
  service.set_faults({.fail_every = 2});
  EXPECT_EQ(one.write("a", ""), "OK");
  service.set_faults({.fail_every = 2});
  EXPECT_EQ(one.write("a", ""), "OK");
  EXPECT_EQ(one.write("a", ""), "EIO");
}

TEST_F(store_services, count_the_requests_of_guests) {
  const auto before = service.guest_request_count();
  EXPECT_EQ(one.write("a", ""), "OK");
  EXPECT_EQ(two.read("missing"), "ENOENT");
  EXPECT_EQ(zero.read("/"), "");
  service.set_faults({.fail_every = 1});
  EXPECT_EQ(one.write("a", ""), "EIO");
  EXPECT_EQ(service.guest_request_count(), before + 3);
}

TEST_F(store_services, fail_every_nth_commit_of_guests) {
  service.set_faults({.eagain_every = 2});
  lines replies;
  for (int i = 0; i < 5; ++i) {
    const auto tx = one.start();
    EXPECT_EQ(one.write("n", std::to_string(i), tx), "OK");
    replies.push_back(one.commit(tx));
    const auto aborted = one.start();
    EXPECT_EQ(one.abort(aborted), "OK") << "an abort is not a commit";
    EXPECT_EQ(zero.commit(zero.start()), "OK");
  }
  EXPECT_EQ(replies, (lines{"OK", "EAGAIN", "OK", "EAGAIN", "OK"}));
  service.set_faults({.eagain_every = 1});
  const auto tx = one.start();
  EXPECT_EQ(one.write("n", "storm", tx), "OK");
  EXPECT_EQ(one.commit(tx), "EAGAIN");
  EXPECT_EQ(one.read("n"), "4");
}

}  // namespace
}  // namespace xenpv::sim
