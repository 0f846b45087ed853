// Which kernel driver the options of attach determine, and which options a kept device permits.
#include "xenpv-disk/attach_options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace xenpv::disk_app {
namespace {

using ::testing::HasSubstr;

constexpr kernel_device nbd0{device_driver::nbd, 0};
constexpr kernel_device ublk0{device_driver::ublk, 0};

/// "nbd", "ublk", "either" or the error.
std::string verdict(const attach_options& options) {
  const auto driver = required_driver(options);
  if (!driver) return driver.error().text;
  return *driver ? std::string(to_string(**driver)) : "either";
}

TEST(attach_options, leave_the_choice_of_the_driver_open) {
  EXPECT_EQ(verdict({}), "either");
}

TEST(attach_options, choose_the_driver_by_name_by_device_or_by_an_option_of_its_own) {
  attach_options options;
  options.driver = driver_choice::ublk;
  EXPECT_EQ(verdict(options), "ublk");
  options.device = ublk0;
  EXPECT_EQ(verdict(options), "ublk");
  options.driver = driver_choice::automatic;
  EXPECT_EQ(verdict(options), "ublk");
  options = {};
  options.device = nbd0;
  EXPECT_EQ(verdict(options), "nbd");
  options = {};
  options.connections = 2;
  EXPECT_EQ(verdict(options), "nbd");
  options = {};
  options.timeout = std::chrono::seconds(0);
  EXPECT_EQ(verdict(options), "nbd");
  options = {};
  options.dead_timeout = std::chrono::seconds(5);
  EXPECT_EQ(verdict(options), "nbd");
}

TEST(attach_options, contradict_each_other) {
  attach_options options;
  options.driver = driver_choice::ublk;
  options.device = nbd0;
  EXPECT_THAT(verdict(options), HasSubstr("--driver ublk: "));
  EXPECT_THAT(verdict(options), HasSubstr("it contradicts /dev/nbd0; omit one of them"));
  options.device.reset();
  options.timeout = std::chrono::seconds(2);
  EXPECT_THAT(verdict(options), HasSubstr("it contradicts --timeout; omit one of them"));
  options.driver = driver_choice::automatic;
  options.device = ublk0;
  EXPECT_THAT(verdict(options), HasSubstr("/dev/ublkb0: "));
  EXPECT_THAT(verdict(options), HasSubstr("it contradicts --timeout; omit one of them"));
}

struct takeover {
  attach_options options;
  kept_device kept;
  bool is_read_only = false;
  bool can_remove_timeout = true;

  /// The error, or "permitted".
  [[nodiscard]] std::string verdict() const {
    const auto checked = check_takeover(options, kept, "xvdb", is_read_only, can_remove_timeout);
    return checked ? "permitted" : checked.error().text;
  }
};

TEST(takeover, is_permitted_with_the_same_options) {
  for (const auto device : {nbd0, ublk0}) {
    takeover next;
    next.kept.device = device;
    EXPECT_EQ(next.verdict(), "permitted");
    next.options.device = device;
    EXPECT_EQ(next.verdict(), "permitted");
  }
}

TEST(takeover, keeps_the_device_and_its_driver) {
  takeover next;
  next.kept.device = ublk0;
  next.options.device = kernel_device{device_driver::ublk, 1};
  EXPECT_THAT(next.verdict(), HasSubstr("attach xvdb as /dev/ublkb0: "));
  EXPECT_THAT(next.verdict(), HasSubstr("/dev/ublkb1 cannot replace it"));
  next.options.device.reset();
  next.options.driver = driver_choice::nbd;
  EXPECT_THAT(next.verdict(), HasSubstr("and the nbd driver cannot replace it; detach the device"));
  next.options.driver = driver_choice::automatic;
  next.options.dead_timeout = std::chrono::seconds(1);
  EXPECT_THAT(next.verdict(), HasSubstr("and the nbd driver cannot replace it"));
}

TEST(takeover, does_not_make_a_device_read_only) {
  takeover next;
  next.kept.device = ublk0;
  next.options.server.read_only = true;
  EXPECT_THAT(next.verdict(), HasSubstr("and it is writable; omit --read-only"));
  next.is_read_only = true;
  EXPECT_EQ(next.verdict(), "permitted");
}

TEST(takeover, of_an_nbd_device_keeps_its_connections) {
  takeover next;
  next.kept.connections = 2;
  next.options.connections = 1;
  EXPECT_THAT(next.verdict(), HasSubstr("with 2 connections; omit --connections"));
  next.options.connections = 2;
  EXPECT_EQ(next.verdict(), "permitted");
}

TEST(takeover, of_an_nbd_device_removes_its_timeout_only_where_the_kernel_can) {
  takeover next;
  next.kept.timeout = std::chrono::seconds(7);
  EXPECT_EQ(next.verdict(), "permitted");
  next.can_remove_timeout = false;
  EXPECT_THAT(next.verdict(), HasSubstr("with --timeout 7s, which can be removed only by Linux"));
  next.options.timeout = std::chrono::seconds(9);
  EXPECT_EQ(next.verdict(), "permitted");
}

}  // namespace
}  // namespace xenpv::disk_app
