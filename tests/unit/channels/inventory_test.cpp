#include "channels/inventory.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "unit/channels/captured_tree.hpp"

namespace xenpv::channels {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

inventory inventory_of(const std::string& capture) {
  return make_inventory(test::captured_tree(capture).read());
}

const channel& with_irq(const inventory& all, unsigned irq) {
  for (const auto& entry : all.channels)
    if (entry.irq == irq) return entry;
  throw std::runtime_error("no such interrupt");
}

const source_status& status_of(const inventory& all, std::string_view name) {
  for (const auto& status : all.ladder)
    if (status.name == name) return status;
  throw std::runtime_error("no such source");
}

/// Returns a channel's port as text, such as "15 order interdomain device/vbd/51712 q0 -> 0".
std::string port_line(const channel& entry) {
  auto out = entry.number ? fmt::format("{} {}", entry.number->value, to_string(entry.number->from))
                          : std::string("-");
  if (entry.type) out += fmt::format(" {}", to_string(entry.type->value));
  if (entry.device) out += " " + entry.device->value;
  if (entry.queue) out += fmt::format(" q{}", entry.queue->value);
  if (entry.role) out += " " + entry.role->value;
  if (entry.remote_domain) out += fmt::format(" -> {}", entry.remote_domain->value);
  if (entry.remote_port) out += fmt::format(":{}", entry.remote_port->value);
  if (entry.virq) out += " " + xen::virq_name(entry.virq->value);
  return out;
}

TEST(inventory, finds_the_ports_of_pv_devices_in_xenstore_without_hypercalls) {
  const auto all = inventory_of("pv");
  EXPECT_EQ(all.channels.size(), 21U);
  EXPECT_EQ(port_line(with_irq(all, 12)), "1 name interdomain store -> 0");
  EXPECT_EQ(port_line(with_irq(all, 13)), "2 name interdomain console -> 0");
  EXPECT_EQ(port_line(with_irq(all, 14)), "15 order interdomain device/vbd/51712 q0 -> 0");
  EXPECT_EQ(port_line(with_irq(all, 19)), "20 order interdomain device/vbd/268441856 q1 -> 0");
  EXPECT_EQ(port_line(with_irq(all, 0)), "-");
  EXPECT_EQ(with_irq(all, 20).process->value, 310U);
  EXPECT_FALSE(status_of(all, "hypervisor").used);
  EXPECT_EQ(status_of(all, "hypervisor").needs, "not in the capture");
  EXPECT_TRUE(status_of(all, "xenstore").used);
}

// The ports inferred from the binding order match those listed by the hypervisor at the same time.
TEST(inventory, concludes_the_same_ports_as_the_hypervisor_lists) {
  const auto concluded = inventory_of("pv");
  const auto listed = inventory_of("pv-open");
  for (const auto& entry : concluded.channels) {
    if (!entry.number) continue;
    const auto& other = with_irq(listed, *entry.irq);
    ASSERT_TRUE(other.number && other.vcpu) << entry.name;
    EXPECT_EQ(other.number->value, entry.number->value) << entry.name;
    ASSERT_TRUE(entry.effective) << entry.name;
    EXPECT_EQ(entry.effective->value, std::vector{other.vcpu->value}) << entry.name;
  }
}

TEST(inventory, takes_types_vcpus_and_remote_ends_from_the_hypervisor) {
  const auto all = inventory_of("pv-open");
  EXPECT_EQ(port_line(with_irq(all, 0)), "3 name virq TIMER");
  EXPECT_EQ(port_line(with_irq(all, 1)), "4 order ipi");
  EXPECT_EQ(port_line(with_irq(all, 11)), "14 order ipi");
  EXPECT_EQ(port_line(with_irq(all, 15)), "16 order interdomain device/vbd/51712 q1 -> 0:37");
  EXPECT_EQ(with_irq(all, 15).vcpu->value, 0U);
  EXPECT_EQ(with_irq(all, 15).remote_port->from, evidence::hypervisor);
  // The unbound port belongs to a process, but no source links it to interrupt 20.
  EXPECT_EQ(port_line(with_irq(all, 20)), "-");
  EXPECT_EQ(port_line(all.channels.back()), "21 hypervisor unbound -> 0");
  EXPECT_EQ(all.channels.back().kind, channel_kind::unbound);
}

TEST(inventory, matches_backends_of_domain_0_by_the_frontends_nodes) {
  const auto all = inventory_of("dom0");
  EXPECT_TRUE(all.is_control_domain);
  EXPECT_EQ(port_line(with_irq(all, 36)), "13 proc interdomain -> 0:33");
  EXPECT_EQ(port_line(with_irq(all, 37)), "14 name virq PCPU_STATE");
  EXPECT_EQ(port_line(with_irq(all, 39)), "17 name virq CONSOLE");
  EXPECT_EQ(port_line(with_irq(all, 9)), "15 name pirq");
  EXPECT_EQ(port_line(with_irq(all, 50)), "31 order pirq");
  EXPECT_EQ(port_line(with_irq(all, 51)), "32 order virq DOM_EXC");
  EXPECT_EQ(port_line(with_irq(all, 52)), "33 order interdomain -> 0:13");
  EXPECT_EQ(port_line(with_irq(all, 53)), "34 order interdomain /local/domain/1/store -> 1:1");
  EXPECT_EQ(port_line(with_irq(all, 54)), "35 name interdomain /local/domain/1/console -> 1:2");
  EXPECT_EQ(port_line(with_irq(all, 55)),
            "36 order interdomain /local/domain/1/device/vbd/51712 q0 -> 1:15");
  EXPECT_EQ(with_irq(all, 54).process->value, 310U);
  // Every channel has a port and an interrupt, and most of its events were counted on the vCPU that
  // the hypervisor notifies.
  for (const auto& entry : all.channels) {
    EXPECT_TRUE(entry.irq && entry.number) << entry.name;
    if (!entry.vcpu || entry.total() < 20) continue;
    const auto most = std::max_element(entry.counts.begin(), entry.counts.end());
    EXPECT_EQ(static_cast<unsigned>(most - entry.counts.begin()), entry.vcpu->value) << entry.name;
  }
}

TEST(inventory, names_queues_of_network_devices_by_their_interrupts) {
  const auto all = inventory_of("cpus-64");
  EXPECT_EQ(all.cpus.size(), 64U);
  const auto& channel = with_irq(all, 24 + 320 + 2 + 64 + 5);
  EXPECT_EQ(channel.name, "vif0-q2-rx");
  EXPECT_EQ(port_line(channel), "705 name interdomain device/vif/0 q2 rx -> 3");
  EXPECT_GT(all.events_per_cpu()[0], all.events_per_cpu()[63]);
}

TEST(inventory, lists_the_channels_of_old_and_foreign_kernels) {
  const auto old = inventory_of("old-kernel");
  EXPECT_FALSE(with_irq(old, 77).effective);
  EXPECT_EQ(with_irq(old, 77).allowed->value, (std::vector{0U, 1U}));
  const auto arm = inventory_of("arm");
  EXPECT_EQ(arm.guest, xen::guest_type::xen_arm);
  EXPECT_THAT(arm.cpus, ElementsAre(0U, 2U, 3U));
  EXPECT_EQ(with_irq(arm, 44).effective->value, std::vector{2U});
}

TEST(inventory, lists_the_channels_of_xenlinux) {
  const auto all = inventory_of("xenlinux-dom0");
  EXPECT_EQ(all.channels.size(), 19U);
  EXPECT_EQ(with_irq(all, 261).of_cpu, 1U);
  EXPECT_FALSE(with_irq(all, 261).can_move());
  EXPECT_TRUE(with_irq(all, 16).can_move());
}

TEST(inventory, marks_channels_that_cannot_move) {
  const auto all = inventory_of("pvh");
  EXPECT_FALSE(with_irq(all, 16).can_move());
  EXPECT_TRUE(with_irq(all, 26).can_move());
}

TEST(inventory, ignores_nodes_of_a_driver_that_released_its_port) {
  test::captured_tree tree("pv-open");
  tree.with("/xenpv/store", "device/vbd/51712/queue-0/event-channel = \"99\"\n");
  const auto all = make_inventory(tree.read());
  for (const auto& entry : all.channels)
    EXPECT_FALSE(entry.number && raw(entry.number->value) == 99);
}

TEST(inventory, shows_a_published_port_without_an_interrupt) {
  test::captured_tree tree("pv");
  tree.with("/xenpv/store",
            "device/vfb/0/event-channel = \"44\"\ndevice/vfb/0/backend-id = \"2\"\n");
  const auto all = make_inventory(tree.read());
  EXPECT_EQ(port_line(all.channels.back()), "44 xenstore interdomain device/vfb/0 -> 2");
}

TEST(inventory, tolerates_files_that_cannot_be_read) {
  test::captured_tree tree("pv");
  tree.remove("/proc/irq");
  tree.remove("/sys/kernel");
  EXPECT_FALSE(with_irq(make_inventory(tree.read()), 12).allowed);
  tree.remove("/proc/interrupts");
  const auto all = make_inventory(tree.read());
  EXPECT_THAT(all.problems, ElementsAre(HasSubstr("/proc/interrupts cannot be read")));
  EXPECT_FALSE(status_of(all, "proc").used);
  // The ports published in xenstore remain.
  EXPECT_EQ(all.channels.size(), 8U);
}

TEST(inventory, shows_only_the_ports_of_another_domain) {
  const auto ports =
      xen::parse_lsevtchn("   1: VCPU 0: Virtual IRQ 0\n   2: VCPU 1: IPI\n").value();
  const auto all = make_port_inventory(ports);
  ASSERT_EQ(all.channels.size(), 2U);
  EXPECT_EQ(all.channels[0].kind, channel_kind::timer);
  EXPECT_EQ(port_line(all.channels[1]), "2 hypervisor ipi");
}

}  // namespace
}  // namespace xenpv::channels
