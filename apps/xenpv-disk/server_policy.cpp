#include "server_policy.hpp"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

// The kernel's interfaces; Xen's headers do not contain them.
#include <linux/ioctl.h>
#include <linux/sockios.h>
#include <linux/vm_sockets.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>

namespace xenpv::disk_app {
namespace {

// From the kernel's <xen/evtchn.h> and <xen/gntalloc.h>. Packages of user-space kernel headers do
// not contain all of these headers.
constexpr unsigned long evtchn_ioctl(unsigned number, unsigned size) {
  return _IOC(_IOC_NONE, 'E', number, size);
}
constexpr unsigned long gntalloc_ioctl(unsigned number, unsigned size) {
  return _IOC(_IOC_NONE, 'G', number, size);
}

/// Allows the calls on event-channel and grant descriptors, which a server reopens after a resume.
void allow_devices(sandbox::call_policy& policy) {
  policy.allow_ioctl(evtchn_ioctl(0, 4));     // BIND_VIRQ
  policy.allow_ioctl(evtchn_ioctl(1, 8));     // BIND_INTERDOMAIN
  policy.allow_ioctl(evtchn_ioctl(2, 4));     // BIND_UNBOUND_PORT
  policy.allow_ioctl(evtchn_ioctl(3, 4));     // UNBIND
  policy.allow_ioctl(evtchn_ioctl(4, 4));     // NOTIFY
  policy.allow_ioctl(evtchn_ioctl(5, 0));     // RESET
  policy.allow_ioctl(gntalloc_ioctl(5, 24));  // ALLOC_GREF: its size covers one reference
  policy.allow_ioctl(gntalloc_ioctl(6, 16));  // DEALLOC_GREF
  policy.allow_ioctl(gntalloc_ioctl(7, 16));  // SET_UNMAP_NOTIFY
}

bool exists(const char* path) {
  return ::access(path, F_OK) == 0;
}

/// In a guest, xenstore is a device. Domain 0 and a simulated guest have a socket.
bool connects_to_xenstored() {
  return std::getenv("XENSTORED_PATH") != nullptr || std::getenv("XENSTORED_RUNDIR") != nullptr ||
         exists("/run/xenstored/socket") || exists("/var/run/xenstored/socket");
}

}  // namespace

sandbox::call_policy calls_of_a_server(const confinement_needs& needs) {
  auto out = sandbox::runtime_calls();
  out.add(sandbox::thread_calls()).add(sandbox::descriptor_calls()).add(sandbox::waiting_calls());
  out.add(sandbox::socket_calls()).add(sandbox::open_calls());
  allow_devices(out);
  out.allow_ioctl(FIONBIO).allow_ioctl(FIONREAD).allow_ioctl(TCGETS).allow_ioctl(TIOCGWINSZ);
  out.allow_ioctl(SIOCOUTQ);                        // whether a client reads its replies
  out.allow_ioctl(IOCTL_VM_SOCKETS_GET_LOCAL_CID);  // for the addresses of --vsock
  out.allow("wait4");                               // reaps the custodian
  const auto unix_family = sandbox::argument_is(0, AF_UNIX);
  // Links to the kernel.
  if (needs.kernel_device) out.allow("socketpair", {unix_family});
  // The rings accept only commands to the device, and no ring can be added.
  if (needs.ublk_device) out.allow("io_uring_enter");
  const bool connects = needs.syslog || connects_to_xenstored();
  if (connects || std::getenv("NOTIFY_SOCKET") != nullptr) out.allow("socket", {unix_family});
  if (connects) out.allow("connect");
  // The log reconnects for each message; this is not worth a report.
  if (needs.lost_syslog && !connects) {
    out.fail("connect", EACCES);
    if (std::getenv("NOTIFY_SOCKET") == nullptr) out.fail("socket", EACCES, {unix_family});
  }
  // The memory of a simulated guest, and the sockets to its host.
  if (std::getenv("XENPV_SIM_DIR") != nullptr)
    out.allow_all({"memfd_create", "connect"}).allow_socket(AF_UNIX);
  return out;
}

}  // namespace xenpv::disk_app
