// xentoolcore_restrict_all: restricts all open handles of a process to one domain. As it cannot be
// undone, a child process does it.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>

#include "contract/child_process.hpp"
#include "contract/event_handle.hpp"
#include "contract/grants.hpp"

extern "C" {
#include <xentoolcore.h>
}

namespace xenpv::contract {
namespace {

/// The device number of /dev/null.
constexpr unsigned memory_major = 1;
constexpr unsigned null_minor = 3;

/// Adds to the report of a child a digit that is 1 if `condition` is true.
void add_digit(std::uint32_t& report, bool condition) {
  report = report * 10 + (condition ? 1 : 0);
}

TEST(event_restrict_all, forbids_bindings_for_other_domains) {
  child_process child([] {
    event_handle events;
    std::uint32_t report = 2;
    add_digit(report, xentoolcore_restrict_all(nobody) == 0);
    add_digit(report, attempt([&] { return xenevtchn_bind_unbound_port(events.get(), self); }) ==
                          failed(EACCES));
    add_digit(report, attempt([&] {
                        return xenevtchn_bind_interdomain(events.get(), other_domid(), 1);
                      }) == failed(EACCES));
    add_digit(report, attempt([&] {
                        return xenevtchn_bind_interdomain(events.get(), nobody, 1);
                      }) == failed(ESRCH));
    return report;
  });
  EXPECT_EQ(child.report(), 21111U);
}

TEST(event_restrict_all, keeps_existing_ports_usable) {
  child_process child([] {
    loopback pair;
    std::uint32_t report = 2;
    add_digit(report, xentoolcore_restrict_all(nobody) == 0);
    pair.left.notify(pair.left_port);
    add_digit(report, pair.right.take() == pair.right_port);
    pair.right.unmask(pair.right_port);
    pair.right.notify(pair.right_port);
    add_digit(report, pair.left.take() == pair.left_port);
    pair.left.unbind(pair.left_port);
    return report;
  });
  EXPECT_EQ(child.report(), 2111U);
}

TEST(event_restrict_all, does_not_affect_handles_that_are_opened_later) {
  child_process child([] {
    event_handle first;
    std::uint32_t report = 2;
    add_digit(report, xentoolcore_restrict_all(nobody) == 0);
    event_handle second;
    add_digit(report, second.bind_unbound() > 0);
    return report;
  });
  EXPECT_EQ(child.report(), 211U);
}

TEST(event_restrict_all, fails_with_einval_for_domain_0) {
  child_process child([] {
    event_handle events;
    return attempt([] { return xentoolcore_restrict_all(0); }) == failed(EINVAL) ? 1U : 0U;
  });
  EXPECT_EQ(child.report(), 1U);
}

// gntdev cannot be restricted, so libxengnttab replaces the descriptor by one of /dev/null.
TEST(event_restrict_all, disables_grant_handles) {
  child_process child([] {
    const auto mapper = open_mapper();
    std::uint32_t report = 2;
    add_digit(report, xentoolcore_restrict_all(nobody) == 0);
    struct stat facts {};
    add_digit(report, ::fstat(xengnttab_fd(mapper.get()), &facts) == 0 &&
                          facts.st_rdev == makedev(memory_major, null_minor));
    const mapped_pages pages(mapper, 0, {unused_ref});
    add_digit(report, !pages);
    return report;
  });
  EXPECT_EQ(child.report(), 2111U);
}

}  // namespace
}  // namespace xenpv::contract
