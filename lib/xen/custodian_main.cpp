// xenpv-custodian: replaces a custodian that died. Not for interactive use: the program that starts
// xenpv-custodian passes it a socket.
#include <sys/socket.h>

#include <csignal>
#include <cstdio>

#include "xen/custodian_process.hpp"

int main() {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(xenpv::xen::custodian_socket, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
      type != SOCK_SEQPACKET) {
    std::fputs("xenpv-custodian: only xenpv programs can start it\n", stderr);
    return 2;
  }
  xenpv::xen::run_as_custodian(xenpv::unique_fd(xenpv::xen::custodian_socket));
}
