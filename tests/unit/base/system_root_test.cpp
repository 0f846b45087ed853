#include "xenpv/base/system_root.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace xenpv {
namespace {

class system_root_tree : public testing::Test {
 protected:
  system_root_tree() {
    std::string name = testing::TempDir() + "xenpv-root-XXXXXX";
    top_ = ::mkdtemp(name.data());
    std::filesystem::create_directories(top_ / "sys/hypervisor");
  }
  ~system_root_tree() override {
    ::unsetenv("XENPV_ROOT");
    std::filesystem::remove_all(top_);
  }
  void write(const char* path, std::string_view text) const {
    std::ofstream(top_ / path, std::ios::binary) << text;
  }

  std::filesystem::path top_;
};

TEST_F(system_root_tree, is_the_real_root_without_the_environment_variable) {
  ::unsetenv("XENPV_ROOT");
  EXPECT_TRUE(system_root::from_environment().is_real());
  EXPECT_EQ(system_root::from_environment().path("/dev/xen/evtchn"), "/dev/xen/evtchn");
  ::setenv("XENPV_ROOT", "", 1);
  EXPECT_TRUE(system_root::from_environment().is_real());
}

TEST_F(system_root_tree, is_the_tree_selected_by_the_environment) {
  ::setenv("XENPV_ROOT", top_.c_str(), 1);
  const auto root = system_root::from_environment();
  EXPECT_FALSE(root.is_real());
  EXPECT_EQ(root.path("/dev/xen/evtchn"), top_ / "dev/xen/evtchn");
  EXPECT_TRUE(root.exists("/sys/hypervisor"));
  EXPECT_FALSE(root.exists("/sys/hypervisor/type"));
}

TEST_F(system_root_tree, reads_a_file_without_the_trailing_newline) {
  write("sys/hypervisor/type", "xen\n");
  write("sys/hypervisor/two", "a\n\n");
  write("sys/hypervisor/bare", "x");
  write("sys/hypervisor/empty", "");
  const system_root root(top_);
  EXPECT_EQ(root.read("/sys/hypervisor/type"), "xen");
  EXPECT_EQ(root.read("/sys/hypervisor/two"), "a\n");
  EXPECT_EQ(root.read("/sys/hypervisor/bare"), "x");
  EXPECT_EQ(root.read("/sys/hypervisor/empty"), "");
}

TEST_F(system_root_tree, returns_nullopt_for_a_missing_file) {
  const system_root root(top_);
  EXPECT_EQ(root.read("/sys/hypervisor/type"), std::nullopt);
  EXPECT_EQ(root.read("/sys/hypervisor"), std::nullopt) << "is a directory";
}

TEST_F(system_root_tree, lists_a_directory_in_sorted_order) {
  write("sys/b", "");
  write("sys/a", "");
  const system_root root(top_);
  EXPECT_EQ(root.names("/sys"), (std::vector<std::string>{"a", "b", "hypervisor"}));
  EXPECT_TRUE(root.names("/sys/hypervisor").empty());
  EXPECT_TRUE(root.names("/sys/a").empty()) << "not a directory";
  EXPECT_TRUE(root.names("/nothing").empty());
}

}  // namespace
}  // namespace xenpv
