#include "wire/netlink.hpp"

namespace xenpv::wire {

std::string_view to_string(nbd_driver_command command) noexcept {
  switch (command) {
    case nbd_driver_command::connect:
      return "NBD_CMD_CONNECT";
    case nbd_driver_command::disconnect:
      return "NBD_CMD_DISCONNECT";
    case nbd_driver_command::reconfigure:
      return "NBD_CMD_RECONFIGURE";
    case nbd_driver_command::link_dead:
      return "NBD_CMD_LINK_DEAD";
    case nbd_driver_command::status:
      return "NBD_CMD_STATUS";
  }
  return "unknown command";
}

}  // namespace xenpv::wire
