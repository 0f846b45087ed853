// The helper processes of xenpv-disk, with the operations that they carry out as root.
#include "xenpv-disk/root_operations.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string_view>

#include "sandbox/root_helper.hpp"
#include "unit/xen/fake_root.hpp"

namespace xenpv::disk_app {
namespace {

namespace fs = std::filesystem;
using sandbox::helper_operation;
using sandbox::helper_request;
using xen::test::fake_root;
using xen::test::scoped_variable;

helper_request request_for(helper_operation operation, std::string_view text = {}) {
  helper_request out;
  out.operation = operation;
  out.set_text(text);
  return out;
}

TEST(device_helper, is_prepared_for_any_device_while_another_server_uses_the_first_one) {
  fake_root tree;
  tree.with("/sys/block/nbd0/backend", "xenpv-disk xvdb\n");
  const scoped_variable root("XENPV_ROOT", tree.root().path("/").string());
  const auto helper = start_device_helper(false);
  auto any = request_for(helper_operation::use_device, "xenpv-disk xvdc");
  any.numbers[0] = sandbox::any_device;
  EXPECT_NO_THROW((void)helper->ask(any));
  EXPECT_NO_THROW((void)helper->ask(request_for(helper_operation::seal)));
}

TEST(guest_helper, removes_a_file_of_the_directory_that_was_named) {
  fake_root tree;
  tree.with("/run/disk.sock").with("/elsewhere/disk.sock");
  const auto path = [&](const char* name) { return tree.root().path(name); };
  const auto helper = start_guest_helper("off", false);
  (void)helper->ask(request_for(helper_operation::add_file, path("/run/disk.sock").string()));
  (void)helper->ask(request_for(helper_operation::seal));
  fs::rename(path("/run"), path("/moved"));
  fs::create_directory_symlink(path("/elsewhere"), path("/run"));
  (void)helper->ask(request_for(helper_operation::remove_file));
  EXPECT_TRUE(fs::exists(path("/elsewhere/disk.sock"))) << "the link leads here";
  EXPECT_FALSE(fs::exists(path("/moved/disk.sock")));
}

}  // namespace
}  // namespace xenpv::disk_app
