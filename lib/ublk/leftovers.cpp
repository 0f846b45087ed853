#include "ublk/leftovers.hpp"

#include <fmt/format.h>

#include "ublk/device_name.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::ublk {

bool remove_leftovers(kernel_driver& driver, std::uint64_t token) {
  for (const auto number : driver.device_numbers()) {
    const auto found = driver.get_info(number);
    if (!found || found->ublksrv_flags != token) continue;
    const bool survives_its_server = (found->flags & f_user_recovery) != 0;
    if (found->state == device_state::live && !survives_its_server) return false;
    if (found->state != device_state::dead)
      throw failure(std::make_error_code(std::errc::device_or_resource_busy),
                    "create a ublk device",
                    fmt::format("a previous server of the disk left {} behind; detach it first",
                                device_path(number)));
    log().info("/dev/ublkc{}: a killed server left it behind; removing it", number);
    driver.remove(number);
  }
  return true;
}

}  // namespace xenpv::ublk
