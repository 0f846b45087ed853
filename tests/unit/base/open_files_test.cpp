#include "base/open_files.hpp"

#include <gtest/gtest.h>

#include <filesystem>

#include "unit/xen/fake_root.hpp"

namespace xenpv {
namespace {

bool is_evtchn(const std::string& path) {
  return path == "/dev/xen/evtchn";
}

TEST(processes_with_open, are_found_in_pid_order) {
  xen::test::fake_root tree;
  const auto link = [&](const char* fd, const char* target) {
    const auto at = tree.root().path(fd);
    std::filesystem::create_directories(at.parent_path());
    std::filesystem::create_symlink(target, at);
  };
  link("/proc/912/fd/0", "/dev/null");
  link("/proc/912/fd/7", "/dev/xen/evtchn");
  link("/proc/88/fd/3", "/dev/xen/evtchn");
  link("/proc/4/fd/3", "/dev/xen/gntdev");
  link("/proc/self/fd/3", "/dev/xen/evtchn");
  EXPECT_EQ(processes_with_open(tree.root(), is_evtchn), (std::vector<unsigned>{88, 912}));
}

TEST(processes_with_open, are_none_without_proc) {
  EXPECT_TRUE(processes_with_open(xen::test::fake_root().root(), is_evtchn).empty());
}

}  // namespace
}  // namespace xenpv
