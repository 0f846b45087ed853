#include "xenpv/base/standard_streams.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>

namespace xenpv {
namespace {

/// Runs `check` in a child process that has closed the descriptors and then called
/// open_standard_streams(). Returns the result of `check` as an exit status.
template <class Function>
int status_without(std::initializer_list<int> closed, Function check) {
  const auto child = ::fork();
  if (child == 0) {
    for (const int number : closed)
      ::close(number);
    open_standard_streams();
    ::_exit(check());
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool is_open(int number) {
  return ::fcntl(number, F_GETFD) >= 0;
}

TEST(standard_streams, are_all_open) {
  const auto count_missing = [] {
    int missing = 0;
    for (const int number : {0, 1, 2})
      missing += is_open(number) ? 0 : 1;
    return missing;
  };
  EXPECT_EQ(status_without({0, 1, 2}, count_missing), 0);
  EXPECT_EQ(status_without({0}, count_missing), 0);
  EXPECT_EQ(status_without({1}, count_missing), 0);
  EXPECT_EQ(status_without({2}, count_missing), 0);
  EXPECT_EQ(status_without({0, 2}, count_missing), 0);
}

TEST(standard_streams, a_new_descriptor_is_not_taken_for_a_stream) {
  EXPECT_GT(status_without({0, 1, 2}, [] { return ::open("/dev/zero", O_RDONLY | O_CLOEXEC); }), 2);
}

TEST(standard_streams, data_written_to_a_missing_stdout_is_an_error) {
  EXPECT_EQ(status_without({1}, [] { return ::write(1, "x", 1) < 0 ? errno : 0; }), EBADF);
}

TEST(standard_streams, data_read_from_a_missing_stdin_is_an_error) {
  char byte = 0;
  EXPECT_EQ(status_without({0}, [&] { return ::read(0, &byte, 1) < 0 ? errno : 0; }), EBADF);
}

TEST(standard_streams, messages_to_a_missing_stderr_are_discarded) {
  EXPECT_EQ(status_without({2}, [] { return ::write(2, "x", 1) == 1 ? 0 : errno; }), 0);
}

TEST(standard_streams, are_inherited_by_child_programs) {
  EXPECT_EQ(status_without({0, 1, 2},
                           [] {
                             int flags = 0;
                             for (const int number : {0, 1, 2})
                               flags |= ::fcntl(number, F_GETFD);
                             return flags;
                           }),
            0);
}

TEST(standard_streams, open_ones_and_other_descriptors_stay_unchanged) {
  const int other = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  const auto child = [&] {
    open_standard_streams();
    char byte = 1;
    return ::read(other, &byte, 1) == 1 && byte == 0 ? 0 : 1;
  };
  EXPECT_EQ(status_without({1}, child), 0);
  ::close(other);
}

}  // namespace
}  // namespace xenpv
