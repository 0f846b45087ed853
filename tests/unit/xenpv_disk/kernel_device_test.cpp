#include "xenpv-disk/kernel_device.hpp"

#include <gtest/gtest.h>

namespace xenpv::disk_app {
namespace {

TEST(kernel_device, is_named_after_its_driver) {
  const kernel_device nbd{device_driver::nbd, 3};
  const kernel_device ublk{device_driver::ublk, 0};
  EXPECT_EQ(nbd.path(), "/dev/nbd3");
  EXPECT_EQ(ublk.name(), "ublkb0");
  EXPECT_EQ(parse_kernel_device("/dev/nbd3"), nbd);
  EXPECT_EQ(parse_kernel_device("nbd3"), nbd);
  EXPECT_EQ(parse_kernel_device("/dev/ublkb0"), ublk);
  for (const auto* const other : {"", "xvdb", "/dev/sda", "/dev/nbd0p1", "/dev/ublkc0", "nbd"})
    EXPECT_EQ(parse_kernel_device(other), std::nullopt) << other;
}

TEST(device_driver, is_parsed_from_its_name) {
  for (const auto driver : {device_driver::nbd, device_driver::ublk})
    EXPECT_EQ(parse_device_driver(to_string(driver)), driver);
  EXPECT_EQ(parse_device_driver("loop"), std::nullopt);
}

}  // namespace
}  // namespace xenpv::disk_app
