#include "sim/backend_program.hpp"

#include <gmock/gmock.h>

#include <array>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "sim/store_service.hpp"
#include "sim/toolstack.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

/// Sets XENPV_SIM_QEMU, or unsets it for a null pointer, until the end of the test.
class chosen_qemu {
 public:
  explicit chosen_qemu(const char* path) {
    if (const char* const before = std::getenv(name)) before_ = before;
    if (path == nullptr)
      ::unsetenv(name);
    else
      ::setenv(name, path, 1);
  }
  ~chosen_qemu() {
    if (before_)
      ::setenv(name, before_->c_str(), 1);
    else
      ::unsetenv(name);
  }
  chosen_qemu(const chosen_qemu&) = delete;
  chosen_qemu& operator=(const chosen_qemu&) = delete;

 private:
  static constexpr const char* name = "XENPV_SIM_QEMU";
  std::optional<std::string> before_;
};

std::string problem_with(std::span<const disk_spec> disks) {
  try {
    require_backends(disks);
  } catch (const failure& problem) {
    return problem.what();
  }
  return "";
}

TEST(qemu_program, is_called_as_libxl_does_for_a_pv_guest) {
  const auto program = qemu_program("/opt/qemu", "/tmp/host", domid{7}, "guest-7");
  EXPECT_THAT(program.arguments,
              ElementsAre("/opt/qemu", "-xen-domid", "7", "-no-shutdown", "-chardev",
                          "socket,id=libxl-cmd,path=/tmp/host/qmp-7,server=on,wait=off", "-mon",
                          "chardev=libxl-cmd,mode=control", "-nodefaults", "-no-user-config",
                          "-xen-attach", "-name", "guest-7", "-vnc", "none", "-display", "none",
                          "-machine", "xenpv", "-m", "256"));
  EXPECT_TRUE(program.environment.empty());
}

TEST(qemu_program, doubles_commas_in_paths) {
  const auto program = qemu_program("/opt/qemu", "/tmp/a,b", domid{1}, "guest-1");
  EXPECT_EQ(program.arguments[5], "socket,id=libxl-cmd,path=/tmp/a,,b/qmp-1,server=on,wait=off");
}

TEST(command_program, is_a_shell_command_with_variables_that_identify_the_disk) {
  const auto disk = parse_disk_spec("xvdc,file=/srv/a,backend=exec:my-backend $XENPV_SIM_FILE");
  ASSERT_TRUE(disk) << disk.error().text;
  const auto program = command_program(domid{3}, *disk);
  EXPECT_THAT(program.arguments, ElementsAre("/bin/sh", "-c", "my-backend $XENPV_SIM_FILE"));
  EXPECT_THAT(program.environment,
              UnorderedElementsAre(Pair("XENPV_SIM_DOMAIN", "3"), Pair("XENPV_SIM_DISK", "xvdc"),
                                   Pair("XENPV_SIM_DEVICE", "51744"),
                                   Pair("XENPV_SIM_BACKEND", "/local/domain/0/backend/vbd/3/51744"),
                                   Pair("XENPV_SIM_FRONTEND", "/local/domain/3/device/vbd/51744"),
                                   Pair("XENPV_SIM_FILE", "/srv/a")));
}

TEST(find_qemu, takes_the_path_from_the_environment) {
  const chosen_qemu chosen("/bin/sh");
  EXPECT_EQ(find_qemu().string(), "/bin/sh");
}

TEST(find_qemu, names_the_package_if_there_is_none) {
  const chosen_qemu chosen("/nowhere/qemu");
  try {
    (void)find_qemu();
    FAIL() << "found a QEMU that does not exist";
  } catch (const failure& problem) {
    EXPECT_EQ(problem.code(), errc::not_available);
    EXPECT_STREQ(problem.what(),
                 "find QEMU at /nowhere/qemu (XENPV_SIM_QEMU): not available here (install "
                 "Debian's package qemu-system-xen, or set XENPV_SIM_QEMU to the path of a "
                 "qemu-system-i386 with Xen support)");
  }
}

TEST(require_backends, checks_only_the_disks_of_qemu) {
  const chosen_qemu chosen("/nowhere/qemu");
  const std::array disks = {parse_disk_spec("xvdb,memory=1M").value(),
                            parse_disk_spec("xvdc,file=/nowhere,backend=exec:true").value()};
  EXPECT_EQ(problem_with(disks), "");
  const std::array of_qemu = {parse_disk_spec("xvdb,file=/bin/sh,ro,backend=qemu-real").value()};
  EXPECT_THAT(problem_with(of_qemu), HasSubstr("qemu-system-xen"));
}

TEST(require_backends, names_a_file_that_qemu_could_not_open) {
  const chosen_qemu chosen("/bin/sh");
  const std::array present = {parse_disk_spec("xvdb,file=/bin/sh,ro,backend=qemu-real").value()};
  EXPECT_EQ(problem_with(present), "");
  const std::array absent = {parse_disk_spec("xvdb,file=/nowhere,backend=qemu-real").value()};
  EXPECT_THAT(problem_with(absent), HasSubstr("disk xvdb: open /nowhere: "));
}

/// The xenstore of a host with one guest and one disk.
class external_disk : public ::testing::Test {
 protected:
  void build(std::string_view spec) {
    disk_ = parse_disk_spec(spec).value();
    toolstack(store_, 2).build_domain(domid{1}, "guest-1", {&disk_, 1});
  }
  [[nodiscard]] std::string node(const std::string& name) const {
    return store_.read(backend_path(domid{1}, disk_) + "/" + name).value_or("absent");
  }

  disk_spec disk_;
  store_service store_;
};

TEST_F(external_disk, has_the_nodes_that_libxl_writes_for_qemu) {
  build("51728,file=/srv/disk,backend=qemu-real");
  const std::string back = "/local/domain/0/backend/qdisk/1/51728";
  EXPECT_EQ(backend_path(domid{1}, disk_), back);
  EXPECT_EQ(store_.read("/local/domain/1/device/vbd/51728/backend"), back);
  EXPECT_EQ(node("frontend"), "/local/domain/1/device/vbd/51728");
  EXPECT_EQ(node("frontend-id"), "1");
  EXPECT_EQ(node("online"), "1");
  EXPECT_EQ(node("removable"), "0");
  EXPECT_EQ(node("bootable"), "1");
  EXPECT_EQ(node("dev"), "xvdb") << "QEMU needs a name";
  EXPECT_EQ(node("type"), "qdisk");
  EXPECT_EQ(node("mode"), "w");
  EXPECT_EQ(node("device-type"), "disk");
  EXPECT_EQ(node("params"), "aio:/srv/disk");
  EXPECT_EQ(node("discard-enable"), "1");
  EXPECT_EQ(node("direct-io-safe"), "absent");
  EXPECT_EQ(node("hotplug-status"), "absent");
  EXPECT_EQ(node("state"), "1");
  EXPECT_EQ(node("xenpv/backend"), "qemu-real");
  EXPECT_EQ(node("xenpv/store"), "absent");
}

TEST_F(external_disk, disables_discard_if_it_is_read_only_or_asked_to) {
  build("xvdb,file=/srv/disk,ro,backend=qemu-real");
  EXPECT_EQ(node("mode"), "r");
  EXPECT_EQ(node("discard-enable"), "0");
}

TEST_F(external_disk, of_a_command_is_an_ordinary_vbd) {
  build("xvdb,file=/srv/disk,no-discard,backend=exec:true");
  EXPECT_EQ(backend_path(domid{1}, disk_), "/local/domain/0/backend/vbd/1/51728");
  EXPECT_EQ(node("type"), "phy");
  EXPECT_EQ(node("params"), "/srv/disk");
  EXPECT_EQ(node("discard-enable"), "0");
  EXPECT_EQ(node("xenpv/backend"), "exec");
}

TEST_F(external_disk, of_a_command_can_have_the_type_of_qemu) {
  build("xvdb,file=/srv/disk,type=qdisk,backend=exec:true");
  EXPECT_EQ(backend_path(domid{1}, disk_), "/local/domain/0/backend/qdisk/1/51728");
  EXPECT_EQ(node("type"), "qdisk");
  EXPECT_EQ(node("params"), "aio:/srv/disk");
}

}  // namespace
}  // namespace xenpv::sim
