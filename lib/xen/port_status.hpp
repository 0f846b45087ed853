// Reads the state of event channels from the hypervisor (EVTCHNOP_status); formats and parses the
// text of lsevtchn(8). Only the hypervisor knows which vCPU a port notifies. Needs hypercalls from
// user space, which Linux allows in domain 0 and, since XSA-482, forbids in ordinary guests. Does
// not bind or change ports.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::xen {

/// EVTCHNSTAT_* of event_channel.h, except for closed ports.
enum class port_type { unbound, interdomain, pirq, virq, ipi };
[[nodiscard]] std::string_view to_string(port_type type) noexcept;

struct port_status {
  port number{};
  port_type type = port_type::unbound;
  std::uint32_t vcpu = 0;                           ///< the vCPU that the hypervisor notifies
  std::optional<domid> remote_domain = {};          ///< unbound: may bind it; interdomain: the peer
  std::optional<port> remote_port = {};             ///< for interdomain
  std::optional<std::uint32_t> number_of_irq = {};  ///< for pirq and virq
  friend bool operator==(const port_status&, const port_status&) = default;
};

/// Returns "TIMER" for VIRQ_TIMER (xen.h), or "VIRQ 21" for a VIRQ that xen.h does not name.
[[nodiscard]] std::string virq_name(std::uint32_t virq);

/// Returns the open ports of `domain` in ascending order, except for those that Xen reserves (Xen
/// 4.15 to 4.18 return EACCES for them). Only the control domain may query other domains. Throws
/// `failure` with errc::not_available where hypercalls are forbidden; the remedy explains how to
/// allow them. May block in open(2) until xenstore is up.
[[nodiscard]] std::vector<port_status> read_port_status(
    domid domain = domid_self, const system_root& root = system_root::from_environment());

/// Formats a port as lsevtchn prints it:
/// "   1: VCPU 0: Interdomain (Connected) - Remote Domain 0, Port 12".
[[nodiscard]] std::string format_lsevtchn(const port_status& status);
/// Parses the output of lsevtchn; an error names the first invalid line.
[[nodiscard]] result<std::vector<port_status>> parse_lsevtchn(std::string_view text);

}  // namespace xenpv::xen
