#include "xen/cure.hpp"

#include <gtest/gtest.h>

#include <cerrno>

#include "unit/xen/fake_root.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::xen {
namespace {

using test::fake_root;
using test::scoped_variable;

struct cure_case {
  attempt action;
  int error_number;
  std::string_view object;
  std::string_view expected;
};

class cure_in_a_guest : public testing::TestWithParam<cure_case> {};

TEST_P(cure_in_a_guest, suggests_a_remedy) {
  fake_root tree;
  tree.with("/sys/hypervisor/type", "xen\n");
  tree.with("/sys/module/xen_gntalloc/parameters/limit", "1024\n");
  const auto& [action, error_number, object, expected] = GetParam();
  EXPECT_EQ(cure_for(action, error_number, object, tree.root()), expected);
}

INSTANTIATE_TEST_SUITE_P(
    table, cure_in_a_guest,
    testing::Values(
        cure_case{attempt::open_device, ENOENT, "/dev/xen/evtchn", "modprobe xen-evtchn"},
        cure_case{attempt::open_device, ENXIO, "/dev/xen/gntalloc", "modprobe xen-gntalloc"},
        cure_case{attempt::open_device, ENODEV, "/dev/xen/gntdev", "modprobe xen-gntdev"},
        cure_case{attempt::open_device, EACCES, "/dev/xen/evtchn",
                  "run as root or give this user access to /dev/xen/evtchn with a udev rule"},
        cure_case{attempt::open_device, EMFILE, "/dev/xen/evtchn",
                  "raise the open-file limit with ulimit -n"},
        cure_case{attempt::open_device, EIO, "/dev/xen/evtchn", ""},
        cure_case{attempt::open_store, ENOENT, "",
                  "modprobe xenfs && mount -t xenfs xenfs /proc/xen"},
        cure_case{attempt::open_store, ECONNREFUSED, "/run/x",
                  "set by XENSTORED_PATH; is xenstored running there?"},
        cure_case{attempt::open_store, EACCES, "/run/x",
                  "set by XENSTORED_PATH; this user is not allowed to connect"},
        cure_case{attempt::bind_unbound, ENOSPC, "",
                  "the domain has no free event channels; raise max_event_channels in its xl "
                  "configuration"},
        cure_case{attempt::bind_virq, ENOSPC, "",
                  "the domain has no free event channels; raise max_event_channels in its xl "
                  "configuration"},
        cure_case{attempt::bind_virq, EEXIST, "", "already bound by the kernel or another process"},
        cure_case{attempt::bind_virq, EBUSY, "",
                  "global virtual IRQs are reserved for the control domain"},
        cure_case{attempt::bind_interdomain, EINVAL, "",
                  "the remote port is not waiting for this domain"},
        cure_case{attempt::bind_interdomain, ESRCH, "", "no such domain"},
        cure_case{attempt::use_port, ENOTCONN, "", "the port is not bound through this handle"},
        cure_case{attempt::use_port, EINVAL, "", ""},
        cure_case{attempt::drain_ports, EFBIG, "",
                  "the handle's ring of pending ports overflowed; open a new handle"},
        cure_case{attempt::restrict_handle, EINVAL, "",
                  "Linux does not restrict a handle to domain 0"},
        cure_case{attempt::share_pages, ENOSPC, "",
                  "limit 1024 in /sys/module/xen_gntalloc/parameters/limit"},
        cure_case{attempt::share_pages, ENOMEM, "", ""},
        cure_case{attempt::map_grants, EINVAL, "",
                  "not granted to this domain, or granted read-only"},
        cure_case{attempt::store_request, EACCES, "",
                  "the node's permissions, which the toolstack sets, exclude this domain"},
        cure_case{attempt::store_request, ENOSPC, "",
                  "this domain has reached its xenstored quota of nodes, watches or transactions"},
        cure_case{attempt::store_request, ENOENT, "", ""}));

TEST(cure, suggests_the_simulator_outside_a_guest) {
  const fake_root tree;
  EXPECT_EQ(cure_for(attempt::open_device, ENOENT, "/dev/xen/gntalloc", tree.root()),
            "modprobe xen-gntalloc in a Xen guest; this machine is not a Xen guest; "
            "xenpv-sim simulates one");
}

TEST(cure, names_the_limit_file_if_it_is_not_readable) {
  const fake_root tree;
  EXPECT_EQ(cure_for(attempt::share_pages, ENOSPC, {}, tree.root()),
            "the limit in /sys/module/xen_gntalloc/parameters/limit is reached");
}

template <class Thrower>
failure caught(Thrower thrower) {
  try {
    thrower();
  } catch (const failure& e) {
    return e;
  }
  throw std::logic_error("nothing was thrown");
}

TEST(failed_open, reports_a_missing_node_as_no_such_device) {
  fake_root tree;
  tree.with("/sys/hypervisor/type", "xen\n");
  const scoped_variable root("XENPV_ROOT", tree.root().path("/").string());
  const auto e = caught([] { throw_open_failed("/dev/xen/gntalloc", ENOENT); });
  EXPECT_STREQ(e.what(), "/dev/xen/gntalloc: no such device (modprobe xen-gntalloc)");
  EXPECT_EQ(e.code(), std::errc::no_such_device);
}

TEST(failed_open, keeps_the_error_when_access_is_denied) {
  fake_root tree;
  const scoped_variable root("XENPV_ROOT", tree.root().path("/").string());
  const auto e = caught([] { throw_open_failed("/dev/xen/evtchn", EACCES); });
  EXPECT_STREQ(e.what(),
               "/dev/xen/evtchn: permission denied (run as root or give this user access to "
               "/dev/xen/evtchn with a udev rule)");
  EXPECT_EQ(e.code(), std::errc::permission_denied);
}

TEST(failed_store_open, names_xenbus_when_no_path_is_set) {
  fake_root tree;
  tree.with("/sys/hypervisor/type", "xen\n");
  const scoped_variable root("XENPV_ROOT", tree.root().path("/").string());
  const auto e = caught([] { throw_store_open_failed(nullptr, ENOENT); });
  EXPECT_STREQ(
      e.what(),
      "/dev/xen/xenbus: no such device (modprobe xenfs && mount -t xenfs xenfs /proc/xen)");
}

TEST(failed_share, names_the_limit_when_it_is_reached) {
  fake_root tree;
  tree.with("/sys/module/xen_gntalloc/parameters/limit", "1024\n");
  const scoped_variable root("XENPV_ROOT", tree.root().path("/").string());
  const auto e =
      caught([] { throw_failed(attempt::share_pages, ENOSPC, "share 353 pages with domain 0"); });
  EXPECT_STREQ(e.what(),
               "share 353 pages with domain 0: no space left on device "
               "(limit 1024 in /sys/module/xen_gntalloc/parameters/limit)");
}

}  // namespace
}  // namespace xenpv::xen
