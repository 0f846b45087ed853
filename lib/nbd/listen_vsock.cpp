// vsock sockets, over which guests and their host connect without a network.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/vm_sockets.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/parse.hpp"
#include "nbd/listen_backlog.hpp"
#include "xenpv/nbd/listen.hpp"

namespace xenpv::nbd {

result<vsock_address> parse_vsock_address(std::string_view text) {
  const auto refuse = [&] {
    return make_error(errc::invalid_argument, fmt::format("vsock address '{}'", text),
                      "expected PORT or CID:PORT, both numbers, such as 10809 or 3:10809");
  };
  vsock_address out;
  const auto colon = text.find(':');
  if (colon != std::string_view::npos && colon > 0) {
    const auto cid = parse_whole<std::uint32_t>(text.substr(0, colon));
    if (!cid || *cid == VMADDR_CID_ANY) return refuse();
    out.cid = *cid;
  }
  const auto port =
      parse_whole<std::uint32_t>(colon == std::string_view::npos ? text : text.substr(colon + 1));
  if (!port || *port == VMADDR_PORT_ANY) return refuse();
  out.port = *port;
  return out;
}

unique_fd listen_vsock(const vsock_address& address) {
  const auto action = address.cid ? fmt::format("listen on vsock:{}:{}", *address.cid, address.port)
                                  : fmt::format("listen on vsock port {}", address.port);
  unique_fd out(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!out && errno == EAFNOSUPPORT)
    throw failure(
        make_error_code(errc::not_available), action,
        "this kernel does not support vsock; Xen guests normally have none, so use --tcp");
  if (!out) throw_errno(action);
  sockaddr_vm raw{};
  raw.svm_family = AF_VSOCK;
  raw.svm_cid = address.cid.value_or(VMADDR_CID_ANY);
  raw.svm_port = address.port == 0 ? VMADDR_PORT_ANY : address.port;
  if (::bind(out.get(), reinterpret_cast<const sockaddr*>(&raw), sizeof raw) != 0)
    throw_errno(action, errno == EADDRNOTAVAIL ? "this machine does not have that context ID" : "");
  if (::listen(out.get(), listen_backlog) != 0) throw_errno(action);
  return out;
}

std::optional<std::uint32_t> local_vsock_cid() {
  const unique_fd device(::open("/dev/vsock", O_RDONLY | O_CLOEXEC));
  unsigned cid = 0;
  if (!device || ::ioctl(device.get(), IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) != 0)
    return std::nullopt;
  if (cid == VMADDR_CID_ANY) return std::nullopt;
  return cid;
}

}  // namespace xenpv::nbd
