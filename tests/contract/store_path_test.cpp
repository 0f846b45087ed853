// Relative, absolute and invalid paths, and the home paths of domains.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>

#include "contract/store_session.hpp"

namespace xenpv::contract {
namespace {

class store_path : public store_case {};

[[nodiscard]] std::string domain_path(const store_session& store, unsigned domain) {
  char* path = xs_get_domain_path(store.get(), domain);
  if (!path) return "none";
  std::string text(path);
  std::free(path);
  return text;
}

TEST_F(store_path, is_relative_to_the_own_home_directory) {
  store_.write(node("a"), "value");
  EXPECT_EQ(store_.read(absolute("a")), "value");
  store_.write(absolute("b"), "other");
  EXPECT_EQ(store_.read(node("b")), "other");
}

TEST_F(store_path, of_a_domain_is_its_domid_below_local_domain) {
  EXPECT_EQ(domain_path(store_, 0), "/local/domain/0");
  EXPECT_EQ(domain_path(store_, own_domid()), "/local/domain/" + std::to_string(own_domid()));
}

TEST_F(store_path, of_a_missing_domain_is_returned) {
  EXPECT_EQ(domain_path(store_, nobody), "/local/domain/" + std::to_string(nobody));
}

TEST_F(store_path, of_the_own_domid_is_readable) {
  EXPECT_EQ(store_.read("domid"), std::to_string(own_domid()));
  EXPECT_EQ(store_.read(home() + "/domid"), std::to_string(own_domid()));
}

TEST_F(store_path, may_contain_letters_digits_and_five_other_characters) {
  const std::string name = "AZaz09-_@";
  store_.write(node(name), "ok");
  EXPECT_EQ(store_.read(node(name)), "ok");
}

TEST_F(store_path, fails_with_einval_if_invalid) {
  for (const auto* name : {"a//b", "a/", "a b", "a.b", "a:b", "a%b", "a\tb", "\xC3\xA4"}) {
    EXPECT_EQ(store_.try_write(node(name)), failed(EINVAL)) << "write " << name;
    EXPECT_EQ(store_.try_read(node(name)), failed(EINVAL)) << "read " << name;
  }
}

TEST_F(store_path, fails_with_einval_in_rm_and_directory_if_invalid) {
  errno = 0;
  EXPECT_FALSE(xs_rm(store_.get(), XBT_NULL, node("a//b").c_str()));
  EXPECT_EQ(errno, EINVAL);
  errno = 0;
  unsigned count = 0;
  EXPECT_EQ(xs_directory(store_.get(), XBT_NULL, node("a//b").c_str(), &count), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(store_path, fails_with_einval_above_the_relative_maximum) {
  const std::string tail(XENSTORE_REL_PATH_MAX, 'p');
  // Since Xen 4.18, the limit is a quota and does not apply to domain 0.
  const bool is_limited = !in_dom0() || xen_minor_version() < 18;
  EXPECT_EQ(store_.try_read(node(tail)), failed(is_limited ? EINVAL : ENOENT));
  EXPECT_EQ(store_.read(node("still-alive")), std::nullopt);
}

TEST_F(store_path, fails_with_e2big_above_the_message_size) {
  const std::string tail(XENSTORE_PAYLOAD_MAX, 'p');
  EXPECT_EQ(store_.try_read(node(tail)), failed(E2BIG)) << "rejected by libxenstore";
  EXPECT_EQ(store_.read(node("still-alive")), std::nullopt);
}

TEST_F(store_path, can_be_checked_for_a_common_prefix) {
  EXPECT_TRUE(xs_path_is_subpath("/a/b", "/a/b"));
  EXPECT_TRUE(xs_path_is_subpath("/a/b", "/a/b/c"));
  EXPECT_FALSE(xs_path_is_subpath("/a/b", "/a/bc"));
  EXPECT_FALSE(xs_path_is_subpath("/a/b", "/a"));
}

TEST_F(store_path, introduced_domains_can_be_queried_by_domain_0) {
  if (!in_dom0()) GTEST_SKIP() << "a guest is not allowed to ask";
  EXPECT_TRUE(xs_is_domain_introduced(store_.get(), 0));
  EXPECT_FALSE(xs_is_domain_introduced(store_.get(), nobody));
}

TEST_F(store_path, introduced_domains_cannot_be_queried_by_a_guest) {
  if (in_dom0()) GTEST_SKIP() << "domain 0 may ask";
  errno = 0;
  EXPECT_FALSE(xs_is_domain_introduced(store_.get(), own_domid()));
  EXPECT_EQ(errno, EACCES);
}

}  // namespace
}  // namespace xenpv::contract
