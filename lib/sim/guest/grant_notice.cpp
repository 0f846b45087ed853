#include "sim/guest/grant_notice.hpp"

#include "sim/guest/attachment.hpp"
#include "sim/guest/device_file.hpp"
#include "sim/guest/xen_abi.hpp"

namespace xenpv::sim::guest {

int check_notice(const unmap_notice& notice) noexcept {
  constexpr std::uint32_t known = UNMAP_NOTIFY_CLEAR_BYTE | UNMAP_NOTIFY_SEND_EVENT;
  if ((notice.action & ~known) != 0) return fail(EINVAL);
  if ((notice.action & UNMAP_NOTIFY_SEND_EVENT) == 0) return 0;
  auto* host = attachment::current();
  if (host == nullptr) return -1;
  if (notice.port >= max_ports) return fail(EINVAL);
  const auto& port = host->state().domains[host->slot()].ports[notice.port];
  return port_delivery::unpack(port.delivery.load()).generation == 0 ? fail(EINVAL) : 0;
}

int set_notice(control_op op, std::uint32_t id, const unmap_notice& notice) noexcept {
  if (check_notice(notice) != 0) return -1;
  const bool clears = (notice.action & UNMAP_NOTIFY_CLEAR_BYTE) != 0;
  const bool notifies = (notice.action & UNMAP_NOTIFY_SEND_EVENT) != 0;
  const auto answer =
      attachment::current()->call(op, id, clears ? notice.offset : no_notice,
                                  notifies ? std::uint64_t{notice.port} : no_notice);
  return answer.error != 0 ? fail(answer.error) : 0;
}

}  // namespace xenpv::sim::guest
