#include "sim/store_permission.hpp"

#include <gtest/gtest.h>

#include "sim/store_tree.hpp"

namespace xenpv::sim {
namespace {

TEST(store_permission, formats_permissions_for_the_wire) {
  EXPECT_EQ(format_permission({domid{7}, false, false}), "n7");
  EXPECT_EQ(format_permission({domid{0}, true, false}), "r0");
  EXPECT_EQ(format_permission({domid{12}, false, true}), "w12");
  EXPECT_EQ(format_permission({domid{65535}, true, true}), "b65535");
}

TEST(store_permission, parses_permissions_from_the_wire) {
  EXPECT_EQ(parse_permission("n7"), (store_permission{domid{7}, false, false}));
  EXPECT_EQ(parse_permission("r0"), (store_permission{domid{0}, true, false}));
  EXPECT_EQ(parse_permission("w12"), (store_permission{domid{12}, false, true}));
  EXPECT_EQ(parse_permission("b65535"), (store_permission{domid{65535}, true, true}));
  EXPECT_EQ(parse_permission("n 1"), (store_permission{domid{1}, false, false}));
  EXPECT_EQ(parse_permission("n+1"), (store_permission{domid{1}, false, false}));
}

TEST(store_permission, rejects_other_text) {
  for (const auto* const text : {"", "r", "1", "x1", "r1x", "rx", "R1", "r-1", "r65536", "rr1",
                                 "r99999999999999999999", "r1 "})
    EXPECT_EQ(parse_permission(text), std::nullopt) << text;
}

TEST(store_rights, cover_requires_all_and_touch_requires_one) {
  constexpr store_rights none{};
  constexpr store_rights write_only{.write = true};
  EXPECT_TRUE(right_to_own.cover(right_to_write));
  EXPECT_FALSE(write_only.cover(right_to_own));
  EXPECT_TRUE(write_only.touch(right_to_own));
  EXPECT_FALSE(write_only.touch(right_to_read));
  EXPECT_FALSE(none.cover(right_to_read));
  EXPECT_TRUE(right_to_read.cover(none));
}

class store_tree_rights : public ::testing::Test {
 protected:
  store_tree tree;
  store_node node;

  store_tree_rights() {
    node.permissions = {{domid{1}, true, false},
                        {domid{2}, false, true},
                        {domid{3}, true, true},
                        {domid{3}, false, false}};
  }

  store_rights rights_of(std::uint16_t domain) const {
    return tree.rights({.domain = domid{domain}}, node);
  }
};

TEST_F(store_tree_rights, are_full_for_the_owner_and_domain_0) {
  for (const int number : {0, 1}) {
    const auto domain = static_cast<std::uint16_t>(number);
    EXPECT_TRUE(rights_of(domain).read) << domain;
    EXPECT_TRUE(rights_of(domain).write) << domain;
    EXPECT_TRUE(rights_of(domain).own) << domain;
  }
}

TEST_F(store_tree_rights, come_from_the_first_entry_for_a_domain) {
  EXPECT_FALSE(rights_of(2).read);
  EXPECT_TRUE(rights_of(2).write);
  EXPECT_TRUE(rights_of(3).read);
  EXPECT_TRUE(rights_of(3).write);
  EXPECT_FALSE(rights_of(3).own);
}

TEST_F(store_tree_rights, default_to_the_entry_of_the_owner) {
  EXPECT_TRUE(rights_of(9).read);
  EXPECT_FALSE(rights_of(9).write);
}

TEST_F(store_tree_rights, of_a_destroyed_domain_do_not_pass_to_a_new_domain_with_its_id) {
  tree.forget(domid{2});
  EXPECT_FALSE(rights_of(2).write);
  EXPECT_TRUE(rights_of(2).read) << "the default applies to the new domain, too";
  node.permissions_generation = tree.next_generation();
  EXPECT_TRUE(rights_of(2).write) << "granted to the new domain";
}

TEST_F(store_tree_rights, include_the_rights_of_the_target_domain) {
  const store_caller stubdomain{.domain = domid{9}, .target = domid{1}};
  EXPECT_TRUE(tree.rights(stubdomain, node).own);
}

}  // namespace
}  // namespace xenpv::sim
