#include "wire/virtual_device.hpp"

#include <gtest/gtest.h>

namespace xenpv::wire {
namespace {

struct naming_case {
  std::uint32_t number;
  const char* toolstack;
  std::optional<std::string> guest;
};

// The rule of xen_translate_vdev() and encode_disk_name() in Linux. EC2 numbers PV disks from 2049
// (sda1); XenServer and XCP-ng number the disks of HVM guests from 768 (hda).
TEST(linux_disk_name, is_xvd_regardless_of_the_toolstack_name) {
  const std::vector<naming_case> table = {
      {51712, "xvda", "xvda"},
      {51713, "xvda1", "xvda1"},
      {51728, "xvdb", "xvdb"},
      {51967, "xvdp15", "xvdp15"},
      {268439552, "xvdq", "xvdq"},
      {268439552 + 5, "xvdq5", "xvdq5"},
      {268435456 + 26 * 256, "xvdaa", "xvdaa"},
      {268435456 + 702 * 256, "xvdaaa", "xvdaaa"},
      {768, "hda", "xvda"},
      {832, "hdb", "xvdb"},
      {5632, "hdc", "xvdc"},
      {5696, "hdd", "xvdd"},
      // Linux drops the partition number of an IDE disk.
      {769, "hda1", "xvda"},
      {2048, "sda", "xvda"},
      {2049, "sda1", "xvda1"},
      {2128, "sdf", "xvdf"},
      {2288, "sdp", "xvdp"},
      {65 << 8, "sdq", "xvdq"},
      {71 << 8 | 240, "sddx", "xvddx"},
      {128 << 8, "sddy", "xvddy"},
      {135 << 8 | 255, "sdiv15", "xvdiv15"},
      {5, "5", std::nullopt},
      {9 << 8, "2304", std::nullopt},
      {72 << 8, "18432", std::nullopt},
      {33 << 8, "8448", std::nullopt},
      {2U << 28, "536870912", std::nullopt},
  };
  for (const auto& item : table) {
    EXPECT_EQ(virtual_device_name(item.number), item.toolstack) << item.number;
    EXPECT_EQ(linux_disk_name(item.number), item.guest) << item.number;
  }
}

}  // namespace
}  // namespace xenpv::wire
