#include "blkfront/emulated_disk.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "unit/xen/fake_root.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blkfront {
namespace {

namespace fs = std::filesystem;
using xen::test::fake_root;

/// An HVM guest whose kernel did not unplug the emulated disks.
class emulated_disk : public testing::Test {
 protected:
  emulated_disk() { tree.with("/sys/hypervisor/guest_type", "HVM\n"); }

  /// Adds a disk that a guest driver found at `address` below the PCI bus.
  void add_disk(const std::string& name, const std::string& address,
                const std::string& model = "QEMU HARDDISK   ") {
    const auto device = "/sys/devices/pci0000:00/" + address;
    tree.with(device + "/model", model + "\n");
    const auto folder = tree.root().path(device + "/block/" + name);
    fs::create_directories(folder);
    fs::create_symlink("../..", folder / "device");
    fs::create_directories(tree.root().path("/sys/block"));
    fs::create_directory_symlink(folder, tree.root().path("/sys/block/" + name));
  }
  void add_ide_ports() {
    for (const auto* port : {"ata1", "ata2"})
      tree.with(fmt::format("/sys/devices/pci0000:00/0000:00:01.1/{}/uevent", port));
  }
  [[nodiscard]] std::string twin_of(std::uint32_t number, const std::string& mode = "w") const {
    listed_device disk;
    disk.number = number;
    disk.mode = mode;
    return emulated_twin(disk, tree.root()).value_or("none");
  }

  fake_root tree;
};

TEST_F(emulated_disk, is_absent_when_all_were_unplugged) {
  EXPECT_EQ(twin_of(768), "none");
  add_disk("sda", "0000:00:04.0/host2/target2:0:0/2:0:0:0", "PASSED THROUGH  ");
  add_disk("sdb", "0000:00:05.0/usb1/1-1/host3/target3:0:0/3:0:0:0");
  EXPECT_EQ(twin_of(768), "none");
}

TEST_F(emulated_disk, is_at_the_same_position_of_the_ide_controller) {
  add_ide_ports();
  add_disk("sda", "0000:00:01.1/ata1/host0/target0:0:0/0:0:0:0");
  add_disk("sdb", "0000:00:01.1/ata1/host0/target0:0:1/0:0:1:0");
  add_disk("sdc", "0000:00:01.1/ata2/host1/target1:0:0/1:0:0:0");
  for (const auto& [number, twin] :
       std::vector<std::pair<std::uint32_t, std::string>>{{768, "sda"},
                                                          {51712, "sda"},
                                                          {268435456, "sda"},
                                                          {832, "sdb"},
                                                          {51728, "sdb"},
                                                          {5632, "sdc"},
                                                          {51744, "sdc"},
                                                          {5696, "none"},
                                                          {51760, "none"},
                                                          {51776, "none"},
                                                          {2048, "none"}})
    EXPECT_EQ(twin_of(number), twin) << number;
}

TEST_F(emulated_disk, counts_only_ports_of_its_own_controller) {
  tree.with("/sys/devices/pci0000:00/0000:00:01.1/ata7/uevent")
      .with("/sys/devices/pci0000:00/0000:00:01.1/ata8/uevent");
  add_disk("sda", "0000:00:01.1/ata8/host9/target9:0:0/9:0:0:0");
  EXPECT_EQ(twin_of(5632), "sda");
  EXPECT_EQ(twin_of(768), "none");
}

TEST_F(emulated_disk, may_be_at_an_ahci_controller) {
  for (unsigned port = 1; port <= 6; ++port)
    tree.with(fmt::format("/sys/devices/pci0000:00/0000:00:06.0/ata{}/uevent", port));
  add_disk("sda", "0000:00:06.0/ata2/host1/target1:0:0/1:0:0:0");
  EXPECT_EQ(twin_of(51728), "sda");
  EXPECT_EQ(twin_of(51712), "none");
}

TEST_F(emulated_disk, may_be_at_a_scsi_controller) {
  add_disk("sda", "0000:00:04.0/host2/target2:0:3/2:0:3:0");
  EXPECT_EQ(twin_of(2048 + 3 * 16), "sda");
  EXPECT_EQ(twin_of(2048), "none");
  EXPECT_EQ(twin_of(51712), "none");
}

TEST_F(emulated_disk, matches_any_disk_when_its_position_is_unknown) {
  tree.with("/sys/block/hda/device/model", "QEMU HARDDISK\n");
  EXPECT_EQ(twin_of(768), "hda");
  EXPECT_EQ(twin_of(51760), "hda");
  EXPECT_EQ(twin_of(51776), "none") << "libxl emulates only four disks";
}

TEST_F(emulated_disk, is_ignored_for_a_read_only_disk) {
  add_ide_ports();
  add_disk("sda", "0000:00:01.1/ata1/host0/target0:0:0/0:0:0:0");
  EXPECT_EQ(twin_of(768, "r"), "none");
}

TEST_F(emulated_disk, is_ignored_in_a_guest_without_emulated_devices) {
  add_ide_ports();
  add_disk("sda", "0000:00:01.1/ata1/host0/target0:0:0/0:0:0:0");
  tree.with("/sys/hypervisor/guest_type", "PVH\n");
  EXPECT_EQ(twin_of(768), "none");
}

TEST_F(emulated_disk, is_named_in_the_refusal_with_the_kernels_parameter) {
  add_ide_ports();
  add_disk("sda", "0000:00:01.1/ata1/host0/target0:0:0/0:0:0:0");
  tree.with("/proc/cmdline", "root=/dev/sda1 xen_emul_unplug=never quiet\n");
  listed_device disk;
  disk.number = 768;
  try {
    refuse_emulated_twin(disk, "serve xvda", tree.root());
    ADD_FAILURE() << "not refused";
  } catch (const failure& problem) {
    EXPECT_EQ(problem.code(), std::errc::device_or_resource_busy);
    EXPECT_STREQ(problem.what(),
                 "serve xvda: device or resource busy (this guest also accesses the disk as "
                 "/dev/sda, emulated by QEMU: its kernel did not unplug emulated disks at boot "
                 "(xen_emul_unplug=never); reboot with unplug enabled, or use --force)");
  }
}

}  // namespace
}  // namespace xenpv::blkfront
