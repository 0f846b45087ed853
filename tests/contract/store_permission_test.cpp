// Permissions: node ownership, access to nodes, and domain 0's privileges.
#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

#include "contract/store_session.hpp"

namespace xenpv::contract {
namespace {

constexpr const char* all_powerful = "domain 0 has all permissions";

class store_permission : public store_case {
 protected:
  [[nodiscard]] outcome set(const std::string& path, std::vector<xs_permissions> list) {
    return xs_set_permissions(store_.get(), XBT_NULL, path.c_str(), list.data(),
                              static_cast<unsigned>(list.size()))
               ? succeeded
               : failed(errno);
  }
};

TEST_F(store_permission, makes_the_creator_the_owner) {
  store_.write(node("a"), "");
  const auto list = store_.permissions(node("a"));
  ASSERT_FALSE(list.empty());
  EXPECT_EQ(list[0].id, own_domid());
}

TEST_F(store_permission, is_returned_as_set) {
  store_.write(node("a"), "");
  ASSERT_EQ(set(node("a"), {{own_domid(), XS_PERM_NONE},
                            {other_domid(), XS_PERM_READ},
                            {nobody, XS_PERM_READ | XS_PERM_WRITE}}),
            succeeded);
  const auto list = store_.permissions(node("a"));
  ASSERT_EQ(list.size(), 3U);
  EXPECT_EQ(list[0].id, own_domid());
  EXPECT_EQ(list[0].perms, unsigned{XS_PERM_NONE});
  EXPECT_EQ(list[1].id, other_domid());
  EXPECT_EQ(list[1].perms, unsigned{XS_PERM_READ});
  EXPECT_EQ(list[2].id, nobody);
  EXPECT_EQ(list[2].perms, unsigned{XS_PERM_READ | XS_PERM_WRITE});
}

TEST_F(store_permission, is_inherited_by_a_new_child) {
  store_.write(node("a"), "");
  ASSERT_EQ(set(node("a"), {{own_domid(), XS_PERM_NONE}, {nobody, XS_PERM_READ}}), succeeded);
  store_.write(node("a/b"), "");
  const auto list = store_.permissions(node("a/b"));
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[1].id, nobody);
  EXPECT_EQ(list[1].perms, unsigned{XS_PERM_READ});
}

TEST_F(store_permission, does_not_change_the_value) {
  store_.write(node("a"), "value");
  ASSERT_EQ(set(node("a"), {{own_domid(), XS_PERM_READ}}), succeeded);
  EXPECT_EQ(store_.read(node("a")), "value");
}

TEST_F(store_permission, never_restricts_the_owner) {
  store_.write(node("a"), "value");
  ASSERT_EQ(set(node("a"), {{own_domid(), XS_PERM_NONE}}), succeeded);
  EXPECT_EQ(store_.read(node("a")), "value");
  EXPECT_EQ(store_.try_write(node("a"), "new"), succeeded);
}

TEST_F(store_permission, cannot_be_set_on_an_absent_node) {
  EXPECT_EQ(set(node("absent"), {{own_domid(), XS_PERM_READ}}), failed(ENOENT));
}

TEST_F(store_permission, prevents_a_guest_from_transferring_ownership) {
  if (in_dom0()) GTEST_SKIP() << all_powerful;
  store_.write(node("a"), "");
  EXPECT_EQ(set(node("a"), {{0, XS_PERM_READ}, {own_domid(), XS_PERM_READ}}), failed(EPERM));
}

TEST_F(store_permission, protects_the_home_directory_of_domain_0) {
  if (in_dom0()) GTEST_SKIP() << all_powerful;
  EXPECT_EQ(store_.try_write("/local/domain/0/xenpv-contract"), failed(EACCES));
}

TEST_F(store_permission, protects_the_root_directory) {
  if (in_dom0()) GTEST_SKIP() << all_powerful;
  EXPECT_EQ(store_.try_write("/xenpv-contract"), failed(EACCES));
  EXPECT_EQ(store_.try_write("/tool/xenpv-contract"), failed(EACCES));
}

TEST_F(store_permission, protects_the_home_directory_of_a_guest) {
  if (in_dom0()) GTEST_SKIP() << all_powerful;
  EXPECT_EQ(store_.try_write("xenpv-contract"), failed(EACCES))
      << "guests may write to data/ and some other directories, but not to the home directory "
         "itself";
  EXPECT_EQ(store_.try_write("domid", "0"), failed(EACCES));
}

TEST_F(store_permission, hides_foreign_nodes_from_a_guest) {
  if (in_dom0()) GTEST_SKIP() << all_powerful;
  EXPECT_EQ(store_.try_read("/local/domain/0/xenpv-does-not-exist"), failed(EACCES));
}

TEST_F(store_permission, prevents_a_guest_from_sending_toolstack_requests) {
  if (in_dom0()) GTEST_SKIP() << all_powerful;
  errno = 0;
  EXPECT_FALSE(xs_release_domain(store_.get(), nobody));
  EXPECT_EQ(errno, EACCES);
  errno = 0;
  EXPECT_FALSE(xs_introduce_domain(store_.get(), nobody, 1, 1));
  EXPECT_EQ(errno, EACCES);
  errno = 0;
  EXPECT_FALSE(xs_set_target(store_.get(), nobody, own_domid()));
  EXPECT_EQ(errno, EACCES);
}

TEST_F(store_permission, prevents_a_guest_from_sending_commands) {
  if (in_dom0()) GTEST_SKIP() << all_powerful;
  for (const auto* command : {"help", "quota", "check", "xenpv"}) {
    errno = 0;
    EXPECT_EQ(xs_control_command(store_.get(), command, nullptr, 0), nullptr) << command;
    EXPECT_EQ(errno, EACCES) << command;
  }
}

TEST_F(store_permission, cannot_be_dropped_with_xs_restrict) {
  EXPECT_FALSE(xs_restrict(store_.get(), nobody)) << "always false since libxenstore 3.0";
}

}  // namespace
}  // namespace xenpv::contract
