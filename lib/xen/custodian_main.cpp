// xenpv-custodian: becomes the custodian of the program that starts it, in place of one that died.
// Not for people: its socket is inherited.
#include <sys/socket.h>

#include <csignal>
#include <cstdio>

#include "xen/custodian_process.hpp"

int main() {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(xenpv::xen::custodian_socket, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
      type != SOCK_SEQPACKET) {
    std::fputs("xenpv-custodian: programs of xenpv start it; it has no use by hand\n", stderr);
    return 2;
  }
  xenpv::xen::live_as_custodian(xenpv::unique_fd(xenpv::xen::custodian_socket));
}
