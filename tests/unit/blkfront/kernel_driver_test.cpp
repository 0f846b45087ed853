#include "blkfront/kernel_driver.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <thread>

#include "unit/async/fake_xenstore.hpp"
#include "unit/async/run_coroutine.hpp"
#include "unit/xen/fake_root.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blkfront {
namespace {

using async::test::xenstore;
using xen::test::fake_root;
constexpr const char* unbind = "/sys/bus/xen/drivers/vbd/unbind";

listed_device make_disk(std::uint32_t number = 51728, const std::string& name = "xvdb") {
  listed_device out;
  out.number = number;
  out.name = name;
  out.path = fmt::format("device/vbd/{}", number);
  out.backend = fmt::format("/local/domain/0/backend/vbd/1/{}", number);
  return out;
}

/// Adds the files of a disk that is bound to the kernel driver.
fake_root& add_driven(fake_root& tree, std::uint32_t number = 51728,
                      const std::string& name = "xvdb") {
  return tree.with(fmt::format("/sys/bus/xen/devices/vbd-{}/block/{}/dev", number, name), "202:0\n")
      .with("/dev/" + name);
}

std::string failure_text(const fake_root& tree, const listed_device& disk = make_disk()) {
  try {
    take_from_kernel(disk, tree.root());
  } catch (const failure& problem) {
    return problem.what();
  }
  return "no failure";
}

TEST(take_from_kernel, unbinds_the_driver_from_an_unused_disk) {
  fake_root tree;
  add_driven(tree);
  tree.with(unbind).with("/proc/self/mountinfo", "22 1 202:1 / / rw - ext4 /dev/xvda1 rw\n");
  EXPECT_EQ(failure_text(tree), "no failure");
  EXPECT_EQ(tree.root().read(unbind), "vbd-51728");
}

TEST(take_from_kernel, refuses_a_disk_in_use_and_names_every_user) {
  fake_root tree;
  add_driven(tree);
  tree.with(unbind)
      .with("/proc/self/mountinfo", "23 1 202:17 / /srv rw - ext4 /dev/xvdb1 rw\n")
      .with("/proc/swaps", "Filename Type\n/dev/xvdb2 partition 8 0 -2\n");
  EXPECT_EQ(failure_text(tree),
            "take xvdb from the kernel: device or resource busy (it is mounted on /srv "
            "(/dev/xvdb1); used as swap (/dev/xvdb2))");
  EXPECT_EQ(tree.root().read(unbind), "") << "nothing was written";
}

TEST(take_from_kernel, names_the_missing_file_without_the_driver) {
  fake_root tree;
  add_driven(tree);
  EXPECT_EQ(failure_text(tree), "take xvdb from the kernel: write " +
                                    tree.root().path(unbind).string() +
                                    ": no such file or directory (are you root?)");
}

TEST(take_from_kernel, finds_users_by_the_kernels_name_and_not_by_the_toolstacks) {
  // The root disk of an XCP-ng HVM guest, which the toolstack calls hda.
  fake_root tree;
  add_driven(tree, 768, "xvda");
  tree.with(unbind).with("/proc/self/mountinfo", "22 1 202:1 / / rw - ext4 /dev/xvda1 rw\n");
  auto disk = make_disk(768, "hda");
  EXPECT_EQ(failure_text(tree, disk),
            "take hda from the kernel: device or resource busy (it is mounted on / (/dev/xvda1))");
  EXPECT_EQ(tree.root().read(unbind), "") << "nothing was written";
  EXPECT_THROW(check_release(disk, tree.root()), failure);
}

TEST(take_from_kernel, refuses_a_disk_whose_name_in_the_kernel_cannot_be_read) {
  fake_root tree;
  tree.with(unbind).with("/dev/xvdb").with("/sys/bus/xen/devices/vbd-51728/driver/module");
  EXPECT_EQ(failure_text(tree),
            "take xvdb from the kernel: not available here (cannot read the kernel's name for "
            "the disk in " +
                tree.root().path("/sys/bus/xen/devices/vbd-51728/block").string() +
                ", so the disk's users are unknown)");
  EXPECT_EQ(tree.root().read(unbind), "");
}

TEST(take_from_kernel, refuses_a_disk_under_a_loop_device) {
  fake_root tree;
  add_driven(tree);
  tree.with(unbind).with("/sys/block/loop0/loop/backing_file", "/dev/xvdb\n");
  EXPECT_EQ(failure_text(tree),
            "take xvdb from the kernel: device or resource busy (it is used by loop0 (/dev/xvdb))");
  EXPECT_EQ(tree.root().read(unbind), "");
}

TEST(check_release, changes_nothing) {
  fake_root tree;
  add_driven(tree).with(unbind);
  check_release(make_disk(), tree.root());
  EXPECT_EQ(tree.root().read(unbind), "");
}

constexpr const char* bind = "/sys/bus/xen/drivers/vbd/bind";

class give_to_kernel_test : public testing::Test {
 protected:
  give_to_kernel_test() : control_thread_([this] { control_.run(); }) {
    const std::lock_guard guard(xenstore.lock);
    xenstore.nodes["device/vbd/51728/backend"] = "/local/domain/0/backend/vbd/1/51728";
    xenstore.nodes["device/vbd/51728/state"] = "6";
    xenstore.nodes["device/vbd/51728/ring-ref"] = "8";
    xenstore.nodes["device/vbd/51728/ring-page-order"] = "1";
    xenstore.nodes["device/vbd/51728/virtual-device"] = "51728";
    xenstore.nodes["/local/domain/0/backend/vbd/1/51728/state"] = "2";
  }
  ~give_to_kernel_test() override {
    async::test::run(context_, client_.close());
    work_.reset();
    control_thread_.join();
  }

  std::string give() {
    std::string out;
    auto body = [&]() -> asio::awaitable<void> {
      try {
        out =
            co_await give_to_kernel(client_, make_disk(), tree.root(), std::chrono::nanoseconds(0));
      } catch (const failure& problem) {
        out = problem.what();
      }
    };
    async::test::run(context_, body());
    return out;
  }
  static std::optional<std::string> node(const std::string& path) {
    const std::lock_guard guard(xenstore.lock);
    const auto found = xenstore.nodes.find(path);
    if (found == xenstore.nodes.end()) return std::nullopt;
    return found->second;
  }

  fake_root tree;

 private:
  asio::io_context context_{1};
  asio::io_context control_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{control_.get_executor()};
  std::thread control_thread_;
  async::store_client client_{control_.get_executor(), xen::store::open()};
};

TEST_F(give_to_kernel_test, binds_the_driver_to_a_disk_in_its_first_state) {
  add_driven(tree).with(bind);
  EXPECT_EQ(give(), "xvdb");
  EXPECT_EQ(tree.root().read(bind), "vbd-51728");
  EXPECT_EQ(node("device/vbd/51728/state"), "1");
  EXPECT_EQ(node("device/vbd/51728/ring-ref"), std::nullopt);
  EXPECT_EQ(node("device/vbd/51728/ring-page-order"), std::nullopt) << "Linux omits an order of 0";
  EXPECT_EQ(node("device/vbd/51728/virtual-device"), "51728");
}

TEST_F(give_to_kernel_test, suggests_a_remedy_when_the_driver_does_not_connect) {
  tree.with(bind).with(unbind);
  EXPECT_EQ(give(),
            "return xvdb to the kernel driver: timed out (its driver has not connected, and was "
            "unbound again; detach and attach the disk in the toolstack, or reboot)");
  EXPECT_EQ(tree.root().read(bind), "vbd-51728");
  EXPECT_EQ(tree.root().read(unbind), "vbd-51728");
}

TEST_F(give_to_kernel_test, reports_that_the_backend_is_not_ready) {
  tree.with(bind).with(unbind);
  {
    const std::lock_guard guard(xenstore.lock);
    xenstore.nodes["/local/domain/0/backend/vbd/1/51728/state"] = "5";
  }
  EXPECT_EQ(
      give(),
      "return xvdb to the kernel driver: timed out (its driver cannot connect while the backend "
      "is not ready, and was unbound again; detach and attach the disk in the toolstack, or "
      "reboot)");
}

TEST_F(give_to_kernel_test, does_not_touch_a_disk_that_the_toolstack_has_removed) {
  tree.with(bind);
  {
    const std::lock_guard guard(xenstore.lock);
    xenstore.nodes.clear();
  }
  EXPECT_EQ(give(),
            "return xvdb to the kernel driver: not available here (the toolstack has removed it)");
  EXPECT_EQ(tree.root().read(bind), "");
  EXPECT_EQ(node("device/vbd/51728/state"), std::nullopt);
}

TEST_F(give_to_kernel_test, fails_without_the_driver) {
  EXPECT_EQ(give(), "return xvdb to the kernel driver: write " + tree.root().path(bind).string() +
                        ": no such file or directory (are you root?)");
}

}  // namespace
}  // namespace xenpv::blkfront
