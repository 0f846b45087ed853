// Tests the files in /dev/xen and /proc/xen without opening a device.
#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <cerrno>
#include <memory>
#include <set>
#include <string>

#include "contract/device.hpp"

namespace xenpv::contract {
namespace {

constexpr unsigned misc_major = 10;
constexpr std::array device_names = {"evtchn", "gntdev", "gntalloc", "privcmd", "xenbus"};

[[nodiscard]] std::string path_of(const char* name) {
  return std::string("/dev/xen/") + name;
}

TEST(device_file, is_a_character_device) {
  for (const auto* name : device_names) {
    SCOPED_TRACE(name);
    struct stat facts {};
    ASSERT_EQ(::stat(path_of(name).c_str(), &facts), 0);
    EXPECT_TRUE(S_ISCHR(facts.st_mode));
    EXPECT_EQ(major(facts.st_rdev), misc_major);
    ASSERT_EQ(::lstat(path_of(name).c_str(), &facts), 0);
    EXPECT_TRUE(S_ISCHR(facts.st_mode)) << "not a symbolic link";
    ASSERT_EQ(::fstatat(AT_FDCWD, path_of(name).c_str(), &facts, 0), 0);
    EXPECT_TRUE(S_ISCHR(facts.st_mode));
  }
}

TEST(device_file, is_a_character_device_for_statx) {
  for (const auto* name : device_names) {
    SCOPED_TRACE(name);
    struct statx facts {};
    ASSERT_EQ(::statx(AT_FDCWD, path_of(name).c_str(), 0, STATX_BASIC_STATS, &facts), 0);
    EXPECT_TRUE(S_ISCHR(facts.stx_mode));
    EXPECT_EQ(facts.stx_rdev_major, misc_major);
  }
}

TEST(device_file, is_a_character_device_when_open) {
  for (const auto* name : device_names) {
    SCOPED_TRACE(name);
    const device file(path_of(name));
    struct stat facts {};
    ASSERT_EQ(::fstat(file.descriptor(), &facts), 0);
    EXPECT_TRUE(S_ISCHR(facts.st_mode));
  }
}

TEST(device_file, may_be_read_and_written) {
  for (const auto* name : device_names) {
    SCOPED_TRACE(name);
    EXPECT_EQ(::access(path_of(name).c_str(), F_OK), 0);
    EXPECT_EQ(::access(path_of(name).c_str(), R_OK | W_OK), 0);
    EXPECT_EQ(::faccessat(AT_FDCWD, path_of(name).c_str(), R_OK | W_OK, AT_EACCESS), 0);
    const device file(path_of(name));
    EXPECT_EQ(::fcntl(file.descriptor(), F_GETFL) & O_ACCMODE, O_RDWR);
  }
}

TEST(device_file, is_listed_in_its_directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/dev/xen"), ::closedir);
  ASSERT_NE(directory, nullptr);
  std::set<std::string> names;
  while (const auto* entry = ::readdir(directory.get()))
    names.insert(entry->d_name);
  for (const auto* name : device_names)
    EXPECT_THAT(names, testing::Contains(name));
}

TEST(device_file, does_not_exist_under_another_name) {
  struct stat facts {};
  EXPECT_EQ(attempt([&] { return ::open("/dev/xen/no-such-device", O_RDWR | O_CLOEXEC); }),
            failed(ENOENT));
  EXPECT_EQ(attempt([&] { return ::stat("/dev/xen/no-such-device", &facts); }), failed(ENOENT));
}

class device_xenfs : public testing::Test {
 protected:
  void SetUp() override {
    if (::access("/proc/xen/capabilities", F_OK) != 0)
      GTEST_SKIP() << "mount -t xenfs xenfs /proc/xen";
  }
};

TEST_F(device_xenfs, shows_that_domain_0_is_the_control_domain) {
  const unique_fd file(::open("/proc/xen/capabilities", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(file);
  std::array<char, 64> text{};
  const auto size = ::read(file.get(), text.data(), text.size());
  ASSERT_GE(size, 0);
  EXPECT_EQ(std::string(text.data(), static_cast<std::size_t>(size)),
            in_dom0() ? "control_d\n" : "");
}

TEST_F(device_xenfs, has_the_older_paths_of_two_devices) {
  for (const auto* path : {"/proc/xen/xenbus", "/proc/xen/privcmd"}) {
    EXPECT_EQ(::access(path, R_OK | W_OK), 0) << path;
    const unique_fd file(::open(path, O_RDWR | O_CLOEXEC));
    EXPECT_TRUE(file) << path;
  }
}

}  // namespace
}  // namespace xenpv::contract
