// /dev/xen/privcmd: hypercalls in domain 0, and the restricted device in a guest. Since XSA-482,
// Linux restricts the device in a guest to the domain in the xenstore node "target", which only
// device models have.
#include <gtest/gtest.h>

#include <cerrno>
#include <new>

#include "contract/device.hpp"
#include "contract/event_handle.hpp"

namespace xenpv::contract {
namespace {

/// __HYPERVISOR_event_channel_op; the headers define an older number by default.
constexpr std::uint64_t event_channel_op = 32;

constexpr auto needs_domain_0 = "needs domain 0";
constexpr auto needs_guest = "domain 0 may make hypercalls";

class device_privcmd : public testing::Test {
 protected:
  device_privcmd() {
    // A hypercall cannot handle page faults in its buffers.
    memory_ = ::mmap(nullptr, page_size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1, 0);
    if (memory_ == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  }
  ~device_privcmd() override { ::munmap(memory_, page_size); }

  /// Returns the outcome of a hypercall; its result is in result_.
  [[nodiscard]] outcome call(std::uint64_t number, std::uint64_t command,
                             std::uint64_t argument = 0) {
    privcmd_hypercall_t hypercall{number, {command, argument, 0, 0, 0}};
    return attempt([&] {
      result_ = ::ioctl(file_.descriptor(), IOCTL_PRIVCMD_HYPERCALL, &hypercall);
      return result_;
    });
  }
  [[nodiscard]] outcome query_port(std::uint32_t port, domid_t domain = self) {
    status_ = new (memory_) evtchn_status_t{};
    status_->dom = domain;
    status_->port = port;
    return call(event_channel_op, EVTCHNOP_status, reinterpret_cast<std::uintptr_t>(status_));
  }
  [[nodiscard]] outcome restrict_to(domid_t domain) const {
    return file_.request(IOCTL_PRIVCMD_RESTRICT, domain);
  }

  device file_{"/dev/xen/privcmd"};
  void* memory_ = nullptr;
  evtchn_status_t* status_ = nullptr;
  int result_ = 0;
};

TEST_F(device_privcmd, guest_may_not_make_hypercalls) {
  if (in_dom0()) GTEST_SKIP() << needs_guest;
  EXPECT_EQ(call(__HYPERVISOR_xen_version, XENVER_version), failed(EPERM));
  const event_handle events;
  EXPECT_EQ(query_port(1), failed(EPERM)) << "not even about its own ports";
}

TEST_F(device_privcmd, guest_may_not_change_the_restriction) {
  if (in_dom0()) GTEST_SKIP() << needs_guest;
  EXPECT_EQ(restrict_to(static_cast<domid_t>(own_domid())), failed(EINVAL));
  EXPECT_EQ(restrict_to(nobody), failed(EINVAL));
}

TEST_F(device_privcmd, guest_may_not_call_the_device_model) {
  if (in_dom0()) GTEST_SKIP() << needs_guest;
  privcmd_dm_op_t operation{static_cast<domid_t>(own_domid()), 0, nullptr};
  EXPECT_EQ(file_.request(IOCTL_PRIVCMD_DM_OP, operation), failed(EPERM));
}

TEST_F(device_privcmd, domain_0_reads_the_version) {
  if (!in_dom0()) GTEST_SKIP() << needs_domain_0;
  ASSERT_EQ(call(__HYPERVISOR_xen_version, XENVER_version), succeeded);
  EXPECT_EQ(result_ >> 16, 4);
  EXPECT_EQ(static_cast<unsigned>(result_ & 0xFFFF), xen_minor_version());
}

TEST_F(device_privcmd, domain_0_sees_an_unbound_port) {
  if (!in_dom0()) GTEST_SKIP() << needs_domain_0;
  event_handle events;
  const auto port = events.bind_unbound();
  ASSERT_EQ(query_port(port), succeeded);
  EXPECT_EQ(status_->status, std::uint32_t{EVTCHNSTAT_unbound});
  EXPECT_EQ(status_->u.unbound.dom, own_domid());
  events.unbind(port);
  ASSERT_EQ(query_port(port), succeeded);
  EXPECT_EQ(status_->status, std::uint32_t{EVTCHNSTAT_closed});
}

TEST_F(device_privcmd, domain_0_sees_both_ends_of_a_channel) {
  if (!in_dom0()) GTEST_SKIP() << needs_domain_0;
  const loopback pair;
  ASSERT_EQ(query_port(pair.left_port), succeeded);
  EXPECT_EQ(status_->status, std::uint32_t{EVTCHNSTAT_interdomain});
  EXPECT_EQ(status_->u.interdomain.dom, own_domid());
  EXPECT_EQ(status_->u.interdomain.port, pair.right_port);
  ASSERT_EQ(query_port(pair.right_port, static_cast<domid_t>(own_domid())), succeeded);
  EXPECT_EQ(status_->u.interdomain.port, pair.left_port);
}

TEST_F(device_privcmd, domain_0_gets_an_error_for_a_missing_port_or_domain) {
  if (!in_dom0()) GTEST_SKIP() << needs_domain_0;
  EXPECT_EQ(query_port(0x7FFFFFFF), failed(EINVAL));
  EXPECT_EQ(query_port(1, nobody), failed(ESRCH));
}

TEST_F(device_privcmd, domain_0_may_not_make_hypercalls_after_a_restriction) {
  if (!in_dom0()) GTEST_SKIP() << needs_domain_0;
  EXPECT_EQ(restrict_to(nobody), succeeded);
  EXPECT_EQ(restrict_to(nobody), succeeded) << "the same domain again";
  EXPECT_EQ(restrict_to(nobody + 1), failed(EINVAL));
  EXPECT_EQ(call(__HYPERVISOR_xen_version, XENVER_version), failed(EPERM));
}

// libxendevicemodel uses this to find out whether the kernel supports the request.
TEST_F(device_privcmd, domain_0_may_call_the_device_model_without_buffers) {
  if (!in_dom0()) GTEST_SKIP() << needs_domain_0;
  privcmd_dm_op_t operation{DOMID_INVALID, 0, nullptr};
  EXPECT_EQ(file_.request(IOCTL_PRIVCMD_DM_OP, operation), succeeded);
}

// libxenforeignmemory uses this request to find out how the kernel refuses unknown ones.
TEST_F(device_privcmd, fails_with_enotty_for_an_unknown_request) {
  EXPECT_EQ(file_.request(IOCTL_PRIVCMD_UNIMPLEMENTED, nullptr), failed(ENOTTY));
}

}  // namespace
}  // namespace xenpv::contract
