// Quotas and message sizes. xenstored applies its quotas to guests, not to domain 0. The cases
// assume the defaults: 1000 nodes, 128 watches, 10 transactions, 2048 bytes per node, 5
// permissions.
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "contract/store_session.hpp"

namespace xenpv::contract {
namespace {

constexpr const char* no_quota = "xenstored has no quotas for domain 0";

class store_limit : public store_case {};

TEST_F(store_limit, fails_with_enospc_above_the_node_size) {
  if (in_dom0()) GTEST_SKIP() << no_quota;
  EXPECT_EQ(store_.try_write(node("a"), std::string(3000, 'v')), failed(ENOSPC));
  EXPECT_EQ(store_.read(node("a")), std::nullopt);
}

TEST_F(store_limit, allows_values_up_to_the_message_size_in_domain_0) {
  if (!in_dom0()) GTEST_SKIP() << "guests have a smaller limit";
  const std::string value(3000, 'v');
  store_.write(node("a"), value);
  EXPECT_EQ(store_.read(node("a")), value);
}

TEST_F(store_limit, fails_with_e2big_above_the_message_size) {
  EXPECT_EQ(store_.try_write(node("a"), std::string(XENSTORE_PAYLOAD_MAX, 'v')), failed(E2BIG))
      << "libxenstore rejects the message; its size includes the path";
  store_.write(node("a"), "still alive");
  EXPECT_EQ(store_.read(node("a")), "still alive");
}

TEST_F(store_limit, includes_child_names_in_the_node_size) {
  if (in_dom0()) GTEST_SKIP() << no_quota;
  const std::string prefix(60, 'n');
  outcome last = succeeded;
  int made = 0;
  while (last.ok && made < 100) {
    last = store_.try_write(node("a/" + prefix + std::to_string(made)), "");
    if (last.ok) ++made;
  }
  EXPECT_EQ(last, failed(ENOSPC));
  EXPECT_GT(made, 20);
  EXPECT_LT(made, 34) << "34 such names take more than 2048 bytes";
}

TEST_F(store_limit, lists_children_that_exceed_the_message_size) {
  if (!in_dom0()) GTEST_SKIP() << "a guest cannot create a node of this size";
  const std::string prefix(60, 'n');
  for (int i = 100; i < 200; ++i)
    store_.write(node("a/" + prefix + std::to_string(i)), "");
  EXPECT_EQ(store_.list(node("a")).size(), 100U);
}

TEST_F(store_limit, fails_with_enospc_for_too_many_transactions) {
  if (in_dom0()) GTEST_SKIP() << no_quota;
  std::vector<xs_transaction_t> open;
  int error = 0;
  while (open.size() < 30) {
    errno = 0;
    const auto transaction = xs_transaction_start(store_.get());
    if (transaction == XBT_NULL) {
      error = errno;
      break;
    }
    open.push_back(transaction);
  }
  for (const auto transaction : open)
    store_.abort(transaction);
  EXPECT_EQ(error, ENOSPC);
  // The C xenstored checks the limit with > instead of >=, and the guest kernel may also have a
  // transaction open.
  EXPECT_GE(open.size(), 8U);
  EXPECT_LE(open.size(), 11U);
  const auto again = store_.start_transaction();
  store_.abort(again);
}

TEST_F(store_limit, fails_with_enospc_for_too_many_permissions) {
  if (in_dom0()) GTEST_SKIP() << no_quota;
  store_.write(node("a"), "");
  std::vector<xs_permissions> list{{own_domid(), XS_PERM_NONE}};
  for (unsigned i = 0; i < 4; ++i)
    list.push_back({100 + i, XS_PERM_READ});
  EXPECT_TRUE(xs_set_permissions(store_.get(), XBT_NULL, node("a").c_str(), list.data(), 5));
  list.push_back({104, XS_PERM_READ});
  errno = 0;
  EXPECT_FALSE(xs_set_permissions(store_.get(), XBT_NULL, node("a").c_str(), list.data(), 6));
  EXPECT_EQ(errno, ENOSPC);
}

TEST_F(store_limit, fails_for_too_many_watches) {
  if (in_dom0()) GTEST_SKIP() << no_quota;
  // Observed with Xen 4.20 and Linux 6.12, on x86 and ARM. The cause is unknown.
  if (!store_is_a_socket() && xen_minor_version() >= 18)
    GTEST_SKIP() << "with /dev/xen/xenbus, a rejected watch hangs the caller";
  // Use a separate connection: with /dev/xen/xenbus, a rejected watch breaks the connection.
  const store_session many;
  int count = 0;
  errno = 0;
  while (count < 300 && xs_watch(many.get(), node("a").c_str(), std::to_string(count).c_str()))
    ++count;
  const int error = errno;
  EXPECT_LT(count, 300);
  EXPECT_LE(count, 129);
  EXPECT_GE(count, 64) << "the kernel has only a few watches";
  if (store_is_a_socket()) {
    EXPECT_EQ(error, E2BIG);
  }
}

TEST_F(store_limit, releases_watches_when_the_connection_closes) {
  if (in_dom0()) GTEST_SKIP() << no_quota;
  for (int round = 0; round < 4; ++round) {
    const store_session own;
    for (int i = 0; i < 60; ++i)
      ASSERT_TRUE(xs_watch(own.get(), node("a").c_str(), std::to_string(i).c_str()))
          << "round " << round << ", watch " << i;
  }
}

TEST_F(store_limit, fails_with_enospc_for_too_many_nodes) {
  if (in_dom0()) GTEST_SKIP() << no_quota;
  outcome last = succeeded;
  int made = 0;
  // Use several directories, so that the child names do not exceed a node's size limit first.
  while (last.ok && made < 1200) {
    last = store_.try_write(
        node("n/" + std::to_string(made / 50) + '/' + std::to_string(made % 50)), "");
    if (last.ok) ++made;
  }
  EXPECT_EQ(last, failed(ENOSPC));
  EXPECT_GT(made, 500);
  EXPECT_LE(made, 1000);
  store_.remove(node("n"));
  EXPECT_EQ(store_.try_write(node("a"), ""), succeeded);
}

}  // namespace
}  // namespace xenpv::contract
