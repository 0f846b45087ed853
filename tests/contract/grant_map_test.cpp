// Failures of xengnttab, for which one domain is enough. Successful mappings are tested in
// peer/grant_test.cpp, because Linux has problems with a domain that maps its own grants.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>

#include "contract/grants.hpp"

namespace xenpv::contract {
namespace {

class grant_map : public testing::Test {
 protected:
  mapper mapper_ = open_mapper();
};

TEST_F(grant_map, fails_with_einval_for_an_unused_ref) {
  const mapped_pages pages(mapper_, 0, {unused_ref});
  EXPECT_FALSE(pages);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(grant_map, fails_with_einval_for_a_ref_beyond_the_table) {
  const mapped_pages pages(mapper_, 0, {0x7FFFFFFF}, PROT_READ);
  EXPECT_FALSE(pages);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(grant_map, fails_with_einval_for_a_missing_domain) {
  const mapped_pages pages(mapper_, nobody, {8}, PROT_READ);
  EXPECT_FALSE(pages);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(grant_map, leaves_the_handle_usable_after_a_failure) {
  for (int i = 0; i < 10; ++i) {
    const mapped_pages pages(mapper_, 0, {unused_ref});
    ASSERT_FALSE(pages);
    ASSERT_EQ(errno, EINVAL) << "attempt " << i;
  }
}

TEST_F(grant_map, fails_with_einval_to_unmap_null) {
  EXPECT_EQ(attempt([&] { return xengnttab_unmap(mapper_.get(), nullptr, 1); }), failed(EINVAL));
}

TEST_F(grant_map, fails_with_einval_to_unmap_ordinary_memory) {
  void* memory =
      ::mmap(nullptr, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  EXPECT_EQ(attempt([&] { return xengnttab_unmap(mapper_.get(), memory, 1); }), failed(EINVAL));
  *static_cast<volatile char*>(memory) = 1;
  ::munmap(memory, page_size);
}

TEST_F(grant_map, accepts_any_maximum_number_of_grants) {
  EXPECT_EQ(attempt([&] { return xengnttab_set_max_grants(mapper_.get(), 16); }), succeeded);
  const auto fresh = open_mapper();
  EXPECT_EQ(attempt([&] { return xengnttab_set_max_grants(fresh.get(), 1'000'000); }), succeeded);
}

TEST_F(grant_map, accepts_close_of_null_handles) {
  EXPECT_EQ(xengnttab_close(nullptr), 0);
  EXPECT_EQ(xengntshr_close(nullptr), 0);
}

TEST_F(grant_map, has_a_descriptor) {
  EXPECT_GE(xengnttab_fd(mapper_.get()), 0);
  const auto shares = open_sharer();
  EXPECT_GE(xengntshr_fd(shares.get()), 0);
}

}  // namespace
}  // namespace xenpv::contract
