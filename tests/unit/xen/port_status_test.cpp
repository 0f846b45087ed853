#include "xen/port_status.hpp"

#include <gmock/gmock.h>

#include "unit/xen/fake_root.hpp"

namespace xenpv::xen {
namespace {

TEST(port_status, round_trips_lines_of_lsevtchn) {
  const std::string text =
      "   1: VCPU 0: Virtual IRQ 0\n   2: VCPU 11: IPI\n"
      "  13: VCPU 1: Interdomain (Connected) - Remote Domain 0, Port 33\n"
      "  34: VCPU 0: Interdomain (Waiting connection) - Remote Domain 32752\n"
      "12345: VCPU 1: Physical IRQ 415\n";
  const auto ports = parse_lsevtchn(text).value();
  ASSERT_EQ(ports.size(), 5U);
  EXPECT_EQ(ports[2].remote_domain, domid_0);
  EXPECT_EQ(ports[2].remote_port, port{33});
  EXPECT_EQ(ports[4].number_of_irq, 415U);
  std::string again;
  for (const auto& entry : ports)
    again += format_lsevtchn(entry) + "\n";
  EXPECT_EQ(again, text);
}

TEST(port_status, rejects_malformed_lines) {
  for (const auto* line :
       {"x", "1: VCPU 0: Party", "1: VCPU x: IPI", "1: VCPU 0: IPIs", "1: VCPU 0: Virtual IRQ ",
        "1: VCPU 0: Interdomain (Connected) - Remote Domain 99999, Port 1",
        "1: VCPU 0: Interdomain (Connected) - Remote Domain 1"}) {
    const auto ports = parse_lsevtchn(line);
    ASSERT_FALSE(ports) << line;
    EXPECT_THAT(ports.error().text, testing::HasSubstr("expected the output of lsevtchn")) << line;
  }
}

TEST(port_status, names_virqs) {
  EXPECT_EQ(virq_name(0), "TIMER");
  EXPECT_EQ(virq_name(3), "DOM_EXC");
  EXPECT_EQ(virq_name(16), "MCA");
  EXPECT_EQ(virq_name(21), "VIRQ 21");
}

TEST(port_status, does_not_query_the_hypervisor_for_another_tree) {
  const test::fake_root tree;
  try {
    (void)read_port_status(domid_self, tree.root());
    FAIL();
  } catch (const failure& problem) {
    EXPECT_EQ(problem.code(), errc::not_available);
    EXPECT_THAT(problem.what(), testing::HasSubstr("captured or simulated guest"));
  }
}

}  // namespace
}  // namespace xenpv::xen
