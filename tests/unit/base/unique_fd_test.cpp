#include "xenpv/base/unique_fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <utility>

#include "xenpv/base/error.hpp"

namespace xenpv {
namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

unique_fd open_null() {
  return unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

TEST(unique_fd, is_empty_by_default) {
  const unique_fd none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.get(), -1);
}

TEST(unique_fd, closes_its_descriptor) {
  int number = -1;
  {
    const auto fd = open_null();
    ASSERT_TRUE(fd);
    number = fd.get();
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(unique_fd, moves_ownership_and_closes_the_old_descriptor) {
  auto first = open_null();
  auto second = open_null();
  const int first_number = first.get();
  const int second_number = second.get();
  second = std::move(first);
  EXPECT_FALSE(is_open(second_number));
  EXPECT_EQ(second.get(), first_number);
  EXPECT_TRUE(is_open(first_number));
  const unique_fd third(std::move(second));
  EXPECT_EQ(third.get(), first_number);
  EXPECT_TRUE(is_open(first_number));
}

TEST(unique_fd, supports_self_assignment) {
  auto fd = open_null();
  const int number = fd.get();
  auto& same = fd;
  fd = std::move(same);
  EXPECT_EQ(fd.get(), number);
  EXPECT_TRUE(is_open(number));
}

TEST(unique_fd, release_leaves_the_descriptor_open) {
  auto fd = open_null();
  const int number = fd.release();
  EXPECT_FALSE(fd);
  fd.reset();
  ASSERT_TRUE(is_open(number));
  ::close(number);
}

TEST(unique_fd, duplicate_is_a_close_on_exec_descriptor) {
  const auto fd = open_null();
  const auto copy = unique_fd::duplicate(fd.get());
  EXPECT_NE(copy.get(), fd.get());
  EXPECT_TRUE(is_open(fd.get()));
  EXPECT_EQ(::fcntl(copy.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST(unique_fd, failed_duplicate_names_the_descriptor) {
  try {
    (void)unique_fd::duplicate(-7);
    FAIL() << "expected a failure";
  } catch (const failure& e) {
    EXPECT_STREQ(e.what(), "duplicate file descriptor -7: bad file descriptor");
  }
}

}  // namespace
}  // namespace xenpv
