// Errors from the wrappers on a machine without Xen.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "unit/xen/fake_root.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/xen/event_channel.hpp"
#include "xenpv/xen/grant_map.hpp"
#include "xenpv/xen/grant_share.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::xen {
namespace {

using test::fake_root;
using test::scoped_variable;

class open_without_xen : public testing::Test {
 protected:
  void SetUp() override {
    if (std::filesystem::exists("/dev/xen")) GTEST_SKIP() << "this machine has /dev/xen";
    tree_.with("/sys/hypervisor/type", "xen\n");
    root_.emplace("XENPV_ROOT", tree_.root().path("/").string());
  }

  template <class Opener>
  std::string text_of(Opener opener) {
    try {
      opener();
    } catch (const failure& e) {
      return e.what();
    }
    return "opened";
  }

  fake_root tree_;
  std::optional<scoped_variable> root_;
};

TEST_F(open_without_xen, event_channels_name_their_module) {
  EXPECT_EQ(text_of([] { static_cast<void>(event_channel_handle::open()); }),
            "/dev/xen/evtchn: no such device (modprobe xen-evtchn)");
}

TEST_F(open_without_xen, grants_name_their_modules_and_print_nothing) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(text_of([] { static_cast<void>(grant_sharer::open()); }),
            "/dev/xen/gntalloc: no such device (modprobe xen-gntalloc)");
  EXPECT_EQ(text_of([] { static_cast<void>(grant_mapper::open()); }),
            "/dev/xen/gntdev: no such device (modprobe xen-gntdev)");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(open_without_xen, store_names_the_path_from_the_environment) {
  const auto socket = tree_.root().path("/run/xenstored/socket").string();
  // Keeps libxenstore away from this machine's real socket.
  const scoped_variable directory("XENSTORED_RUNDIR", tree_.root().path("/run").string());
  const scoped_variable path("XENSTORED_PATH", socket);
  EXPECT_EQ(text_of([] { static_cast<void>(store::open()); }),
            "xenstore at " + socket +
                ": no such file or directory (set by XENSTORED_PATH; is xenstored running there?)");
}

}  // namespace
}  // namespace xenpv::xen
