// The quotas of xenstored 4.17, and whether each quota includes the limit itself.
#include "sim/store_quota.hpp"

#include <fmt/format.h>

#include "unit/sim/store_client.hpp"

namespace xenpv::sim {
namespace {

using namespace std::string_literals;
using test::store_client;
using wire::xs_type;

struct store_quotas : test::store_fixture {
  explicit store_quotas(store_quota quota = {}) : store_fixture(quota) {}
};

struct store_small_quotas : store_quotas {
  store_small_quotas()
      : store_quotas({.nodes = 10,
                      .watches = 2,
                      .transactions = 1,
                      .transaction_nodes = 6,
                      .node_size = 100,
                      .permissions = 2}) {}
};

TEST_F(store_quotas, have_the_defaults_of_xenstored) {
  constexpr store_quota quota;
  EXPECT_EQ(quota.nodes, 1000U);
  EXPECT_EQ(quota.watches, 128U);
  EXPECT_EQ(quota.transactions, 10U);
  EXPECT_EQ(quota.transaction_nodes, 1024U);
  EXPECT_EQ(quota.node_size, 2048U);
  EXPECT_EQ(quota.permissions, 5U);
  EXPECT_EQ(quota.path_length, 2048U);
}

TEST_F(store_quotas, allow_a_thousand_nodes) {
  // The domain's directory is the first node. The nodes are grouped, because the names of child
  // nodes count as size.
  for (int group = 0; group < 9; ++group)
    for (int i = 0; i < 110; ++i)
      ASSERT_EQ(one.write(fmt::format("{}/{}", group, i), ""), "OK") << group << " " << i;
  EXPECT_EQ(service.node_count(domid{1}), 1000U);
  EXPECT_EQ(one.write("x", ""), "ENOSPC");
  EXPECT_EQ(zero.write("/local/domain/1/x", ""), "OK") << "domain 0 has no quota";
  EXPECT_EQ(service.node_count(domid{1}), 1001U);
}

TEST_F(store_quotas, limit_the_size_of_a_node) {
  EXPECT_EQ(one.write("a", std::string(2015, 'v')), "OK")
      << "24 + 8 + 2015 bytes, one below the limit of 2048";
  EXPECT_EQ(one.write("a", std::string(2016, 'v')), "ENOSPC");
  EXPECT_EQ(one.read("a").size(), 2015U);
  EXPECT_EQ(one.write("b", std::string(2016, 'v')), "ENOSPC");
  EXPECT_EQ(one.read("b"), "ENOENT");
  EXPECT_EQ(one.write("c", ""), "OK");
  EXPECT_EQ(one.set_permissions("c", "n1 r2 r3"), "OK");
  EXPECT_EQ(one.write("c", std::string(1999, 'v')), "OK");
  EXPECT_EQ(one.write("c", std::string(2000, 'v')), "ENOSPC");
  EXPECT_EQ(one.set_permissions("c", "n1 r2 r3 r4"), "ENOSPC");
  EXPECT_EQ(one.permissions("c"), "n1 r2 r3");
  EXPECT_EQ(zero.write("/local/domain/1/a", std::string(3000, 'v')), "OK");
}

TEST_F(store_quotas, limit_the_length_of_a_path) {
  const std::string longest(2048, 'a');
  EXPECT_EQ(one.read(longest), "ENOENT");
  EXPECT_EQ(one.read(longest + "a"), "EINVAL");
  EXPECT_EQ(one.watch(longest, "t"), "OK");
  EXPECT_EQ(one.watch(longest + "a", "t"), "EINVAL");
}

TEST_F(store_quotas, count_child_names_as_size) {
  EXPECT_EQ(one.write("a", std::string(1990, 'v')), "OK");
  EXPECT_EQ(one.write("a/ccccc", ""), "OK");
  EXPECT_EQ(one.write("a/cccccccccc", ""), "OK");
  EXPECT_EQ(one.write("a/ccccccccccccccc", ""), "ENOSPC");
  EXPECT_EQ(one.directory("a"), "ccccc cccccccccc");
  EXPECT_EQ(one.write("b/" + std::string(2020, 'c') + "/d", ""), "ENOSPC");
  EXPECT_EQ(one.read("b"), "ENOENT") << "a path that exceeds the quota must not leave nodes";
}

TEST_F(store_quotas, allow_one_watch_more_than_the_quota) {
  for (int i = 0; i < 129; ++i)
    ASSERT_EQ(one.watch(fmt::format("w{}", i), "t"), "OK") << i;
  EXPECT_EQ(one.watch("w129", "t"), "E2BIG");
  EXPECT_EQ(one.unwatch("w7", "t"), "OK");
  EXPECT_EQ(one.watch("w129", "t"), "OK");
}

TEST_F(store_quotas, allow_one_transaction_more_than_the_quota) {
  for (std::uint32_t i = 1; i <= 11; ++i)
    ASSERT_EQ(one.start(), i);
  EXPECT_EQ(one.call(xs_type::transaction_start, "\0"s), "ENOSPC");
  EXPECT_EQ(one.abort(4), "OK");
  EXPECT_EQ(one.start(), 12U);
}

TEST_F(store_quotas, limit_the_nodes_of_a_transaction) {
  const auto tx = one.start();
  for (int i = 0; i < 1023; ++i)
    ASSERT_EQ(one.read(fmt::format("m{}", i), tx), "ENOENT") << i;
  EXPECT_EQ(one.read("m1023", tx), "ENOSPC") << "the directory is the 1024th node";
  EXPECT_EQ(one.read("m7", tx), "ENOENT");
  EXPECT_EQ(one.commit(tx), "ENOMEM");
}

TEST_F(store_quotas, limit_permissions) {
  EXPECT_EQ(one.set_permissions("/local/domain/1", "n1 r1 r1 r1 r1"), "OK");
  EXPECT_EQ(one.set_permissions("/local/domain/1", "n1 r1 r1 r1 r1 r1"), "ENOSPC");
  EXPECT_EQ(zero.set_permissions("/local/domain/1", "n1 r1 r1 r1 r1 r1"), "OK");
}

TEST_F(store_small_quotas, count_nodes_exactly_outside_of_transactions) {
  for (int i = 1; i < 9; ++i)
    ASSERT_EQ(one.write(std::to_string(i), ""), "OK");
  EXPECT_EQ(one.write("a/b", ""), "ENOSPC") << "needs two nodes, but only one is left";
  EXPECT_EQ(one.read("a"), "ENOENT");
  EXPECT_EQ(one.write("9", ""), "OK");
  EXPECT_EQ(service.node_count(domid{1}), 10U);
  EXPECT_EQ(one.write("10", ""), "ENOSPC");
  EXPECT_EQ(one.mkdir("10"), "ENOSPC");
  EXPECT_EQ(one.write("9", "changed"), "OK");
  EXPECT_EQ(one.rm("1"), "OK");
  EXPECT_EQ(one.write("10", ""), "OK");
}

TEST_F(store_small_quotas, count_the_nodes_of_a_transaction_at_its_commit) {
  for (int i = 1; i < 8; ++i)
    ASSERT_EQ(one.write(std::to_string(i), ""), "OK");
  const auto two_more = one.start();
  EXPECT_EQ(one.write("a", "", two_more), "OK");
  EXPECT_EQ(one.write("b", "", two_more), "OK");
  EXPECT_EQ(one.commit(two_more), "ENOSPC");
  EXPECT_EQ(one.read("a"), "ENOENT");
  EXPECT_EQ(service.node_count(domid{1}), 8U);
  const auto one_more = one.start();
  EXPECT_EQ(one.write("a", "", one_more), "OK");
  EXPECT_EQ(one.commit(one_more), "OK") << "stays below the quota";
  const auto same = one.start();
  EXPECT_EQ(one.write("a", "v", same), "OK");
  EXPECT_EQ(one.commit(same), "OK");
}

TEST_F(store_small_quotas, reject_new_nodes_in_a_transaction_when_exhausted) {
  for (int i = 1; i < 10; ++i)
    ASSERT_EQ(one.write(std::to_string(i), ""), "OK");
  const auto tx = one.start();
  EXPECT_EQ(one.write("a", "", tx), "ENOSPC");
  EXPECT_EQ(one.commit(tx), "OK") << "the rejected write must not have an effect";
}

TEST_F(store_small_quotas, fail_a_transaction_with_an_oversized_node) {
  ASSERT_EQ(one.write("a", "v"), "OK");
  for (const auto* const path : {"a", "b"}) {
    const auto tx = one.start();
    EXPECT_EQ(one.write(path, std::string(68, 'v'), tx), "ENOSPC");
    EXPECT_EQ(one.write("c", "v", tx), "OK");
    EXPECT_EQ(one.commit(tx), "ENOMEM") << path;
  }
  EXPECT_EQ(one.read("c"), "ENOENT");
}

TEST_F(store_small_quotas, are_shared_by_the_connections_of_a_domain) {
  store_client other(service, 1);
  EXPECT_EQ(one.watch("a", "t"), "OK");
  EXPECT_EQ(other.watch("a", "t"), "OK");
  EXPECT_EQ(one.watch("b", "t"), "OK");
  EXPECT_EQ(other.watch("b", "t"), "E2BIG");
  EXPECT_EQ(two.watch("b", "t"), "OK");
  EXPECT_EQ(one.start(), 1U);
  EXPECT_EQ(other.start(), 1U);
  EXPECT_EQ(other.call(xs_type::transaction_start, "\0"s), "ENOSPC");
}

TEST_F(store_small_quotas, do_not_apply_to_domain_0) {
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(zero.write(fmt::format("/n/{}", i), std::string(200, 'v')), "OK");
    ASSERT_EQ(zero.watch(fmt::format("/n/{}", i), "t"), "OK");
    ASSERT_EQ(zero.start(), static_cast<std::uint32_t>(i + 1));
  }
  for (int i = 0; i < 50; ++i)
    ASSERT_EQ(zero.read(fmt::format("/n/{}", i), 1), std::string(200, 'v'));
  EXPECT_EQ(zero.commit(1), "OK");
}

}  // namespace
}  // namespace xenpv::sim
