// The nodes that the simulated toolstack creates for a domain, and their lifetime.
#include "sim/toolstack.hpp"

#include <gmock/gmock.h>

#include "unit/sim/store_client.hpp"

namespace xenpv::sim {
namespace {

using ::testing::MatchesRegex;

/// A store with domain 0 and, in domain 1, a guest with two vCPUs.
struct toolstack_nodes : ::testing::Test {
  toolstack_nodes() {
    builder.build_domain(domid_0, "Domain-0", {});
    builder.build_domain(domid{1}, "guest-1", {});
  }

  store_service service;
  toolstack builder{service, 2};
  test::store_client zero{service, 0};
  test::store_client guest{service, 1};
};

TEST_F(toolstack_nodes, of_a_guest_are_those_of_libxl) {
  EXPECT_EQ(
      guest.directory("/local/domain/1"),
      "vm name cpu memory device control data drivers feature attr error store domid console");
  EXPECT_EQ(guest.directory("control"),
            "shutdown feature-poweroff feature-reboot feature-suspend sysrq "
            "platform-feature-multiprocessor-suspend platform-feature-xs_reset_watches");
  EXPECT_EQ(guest.directory("memory"), "static-max target videoram");
  EXPECT_EQ(guest.directory("store"), "port ring-ref");
  EXPECT_EQ(guest.directory("console"), "backend backend-id limit type output tty port ring-ref");
  EXPECT_EQ(guest.directory("device"), "suspend");
  EXPECT_EQ(guest.directory("cpu"), "0 1");
  EXPECT_EQ(guest.read("cpu/1/availability"), "online");
  EXPECT_EQ(guest.read("domid"), "1");
  EXPECT_EQ(guest.read("name"), "guest-1");
}

TEST_F(toolstack_nodes, belong_to_domain_0_or_to_the_guest) {
  for (const auto* path :
       {"/local/domain/1", "name", "vm", "control", "cpu/0", "cpu/0/availability", "store",
        "store/port", "memory/target", "device", "device/suspend",
        "control/platform-feature-xs_reset_watches", "console", "console/tty", "console/backend"})
    EXPECT_EQ(zero.permissions(path[0] == '/' ? path : std::string("/local/domain/1/") + path),
              "n0 r1")
        << path;
  for (const auto* path :
       {"data", "attr", "error", "feature", "drivers", "control/shutdown", "control/sysrq",
        "control/feature-poweroff", "control/feature-suspend", "device/suspend/event-channel"})
    EXPECT_EQ(guest.permissions(path), "n1") << path;
  EXPECT_EQ(guest.permissions("console/backend-id"), "n1 r0");
}

TEST_F(toolstack_nodes, include_the_vm_directory) {
  const auto vm = guest.read("vm");
  EXPECT_EQ(vm, "/vm/00000000-0000-0000-0000-000000000001");
  EXPECT_EQ(guest.directory(vm), "uuid name start_time");
  EXPECT_EQ("/vm/" + guest.read(vm + "/uuid"), vm);
  EXPECT_EQ(guest.read(vm + "/name"), "guest-1");
  EXPECT_THAT(guest.read(vm + "/start_time"), MatchesRegex("[0-9]+\\.[0-9][0-9]"));
  EXPECT_EQ(guest.permissions(vm), "n0 r1");
  EXPECT_EQ(guest.permissions(vm + "/uuid"), "n0 r1");
  EXPECT_EQ(guest.directory("/vm"), "EACCES");
}

TEST_F(toolstack_nodes, include_the_console) {
  const auto back = guest.read("console/backend");
  EXPECT_EQ(back, "/local/domain/0/backend/console/1/0");
  EXPECT_EQ(guest.directory(back), "frontend frontend-id online state protocol");
  EXPECT_EQ(guest.read(back + "/frontend"), "/local/domain/1/console");
  EXPECT_EQ(guest.permissions(back), "n0 r1");
  EXPECT_EQ(guest.read("console/port"), "2");
  EXPECT_EQ(guest.read("console/type"), "xenconsoled");
}

TEST_F(toolstack_nodes, include_the_private_directory_of_libxl) {
  EXPECT_EQ(zero.directory("/libxl/1"), "device type dm-version");
  EXPECT_EQ(zero.read("/libxl/1/type"), "pvh");
  EXPECT_EQ(zero.directory("/libxl/1/device/console/0"),
            "frontend backend frontend-id online state protocol");
  EXPECT_EQ(zero.permissions("/libxl/1/device/console/0/backend"), "n0");
  EXPECT_EQ(guest.read("/libxl/1/type"), "EACCES");
}

TEST_F(toolstack_nodes, of_domain_0_are_those_of_xen_init_dom0) {
  EXPECT_EQ(zero.directory("/local/domain/0"), "control domid name backend");
  EXPECT_EQ(zero.read("name"), "Domain-0");
  EXPECT_EQ(zero.read("domid"), "0");
  EXPECT_EQ(zero.read("/local/pool/0/name"), "Pool-0");
  EXPECT_EQ(zero.permissions("/local/domain/0"), "n0");
  EXPECT_EQ(zero.permissions("name"), "n0");
}

TEST_F(toolstack_nodes, disappear_with_the_guest) {
  builder.build_domain(domid{2}, "guest-2", {});
  builder.destroy_domain(domid{1}, {});
  EXPECT_EQ(zero.directory("/local/domain"), "0 2");
  EXPECT_EQ(zero.directory("/vm"), "00000000-0000-0000-0000-000000000002");
  EXPECT_EQ(zero.directory("/libxl"), "2");
  EXPECT_EQ(zero.directory("backend/console"), "2");
  builder.build_domain(domid{1}, "guest-1", {});
  EXPECT_EQ(zero.read("/local/domain/1/vm"), "/vm/00000000-0000-0000-0000-000000000003")
      << "another guest with the same domain ID";
}

TEST_F(toolstack_nodes, keep_the_uuid_after_a_restore) {
  builder.rebuild_domain(domid{1}, domid{7}, "guest-1", {}, false);
  EXPECT_EQ(zero.directory("/local/domain"), "0 7");
  EXPECT_EQ(zero.directory("/libxl"), "7");
  EXPECT_EQ(zero.directory("/vm"), "00000000-0000-0000-0000-000000000001");
  EXPECT_EQ(zero.read("/local/domain/7/vm"), "/vm/00000000-0000-0000-0000-000000000001");
  EXPECT_EQ(zero.permissions("/vm/00000000-0000-0000-0000-000000000001"), "n0 r7");
  EXPECT_EQ(zero.read("/local/domain/7/console/backend"), "/local/domain/0/backend/console/7/0");
  builder.rebuild_domain(domid{7}, domid{7}, "guest-1", {}, false);
  EXPECT_EQ(zero.read("/local/domain/7/vm"), "/vm/00000000-0000-0000-0000-000000000001");
  EXPECT_EQ(zero.directory("/vm"), "00000000-0000-0000-0000-000000000001");
}

TEST_F(toolstack_nodes, can_be_changed_only_by_their_owner) {
  for (const auto* path : {"name", "store/port", "memory/target", "console/tty", "new"})
    EXPECT_EQ(guest.write(path, "x"), "EACCES") << path;
  for (const auto* path : {"data/new", "control/shutdown", "control/feature-poweroff", "error/x"})
    EXPECT_EQ(guest.write(path, "x"), "OK") << path;
}

}  // namespace
}  // namespace xenpv::sim
