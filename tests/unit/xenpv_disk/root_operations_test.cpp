// The helper processes of xenpv-disk, with the operations that they carry out as root.
#include "xenpv-disk/root_operations.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "sandbox/root_helper.hpp"

namespace xenpv::disk_app {
namespace {

namespace fs = std::filesystem;
using sandbox::helper_operation;
using sandbox::helper_request;

/// A directory that is removed at the end, and the root of the system until then.
class temporary_root {
 public:
  temporary_root() {
    std::string pattern = (fs::temp_directory_path() / "xenpv-XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
    ::setenv("XENPV_ROOT", pattern.c_str(), 1);
  }
  ~temporary_root() {
    ::unsetenv("XENPV_ROOT");
    fs::remove_all(path_);
  }
  temporary_root(const temporary_root&) = delete;
  temporary_root& operator=(const temporary_root&) = delete;

  [[nodiscard]] fs::path add(std::string_view name, std::string_view contents) const {
    auto file = path_ / name;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << contents;
    return file;
  }
  [[nodiscard]] const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

helper_request request_for(helper_operation operation, std::string_view text = {}) {
  helper_request out;
  out.operation = operation;
  out.set_text(text);
  return out;
}

TEST(device_helper, is_prepared_for_any_device_while_another_server_uses_the_first_one) {
  const temporary_root root;
  (void)root.add("sys/block/nbd0/backend", "xenpv-disk xvdb\n");
  const auto helper = start_device_helper(false);
  auto any = request_for(helper_operation::use_device, "xenpv-disk xvdc");
  any.numbers[0] = sandbox::any_device;
  EXPECT_NO_THROW((void)helper->ask(any));
  EXPECT_NO_THROW((void)helper->ask(request_for(helper_operation::seal)));
}

TEST(guest_helper, removes_a_file_of_the_directory_that_was_named) {
  const temporary_root root;
  const auto file = root.add("run/disk.sock", "");
  const auto other = root.add("elsewhere/disk.sock", "");
  const auto helper = start_guest_helper("off", false);
  (void)helper->ask(request_for(helper_operation::add_file, file.string()));
  (void)helper->ask(request_for(helper_operation::seal));
  fs::rename(root.path() / "run", root.path() / "moved");
  fs::create_directory_symlink(root.path() / "elsewhere", root.path() / "run");
  (void)helper->ask(request_for(helper_operation::remove_file));
  EXPECT_TRUE(fs::exists(other)) << "the link leads here";
  EXPECT_FALSE(fs::exists(root.path() / "moved/disk.sock"));
}

}  // namespace
}  // namespace xenpv::disk_app
