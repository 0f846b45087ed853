// Facts about this guest's PV network interfaces: queues, and whether the kernel steers packets to
// other CPUs than the one that got the event (RPS, Documentation/networking/scaling.rst). Also
// whether irqbalance runs. Only collects facts.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::doctor {

struct network_interface {
  std::string device = {};  ///< "vif-0"
  std::string name = {};    ///< "eth0"
  unsigned rx_queues = 0;
  /// Whether any queue has a mask of CPUs; unset if no mask can be read.
  std::optional<bool> uses_rps = {};
};

/// Returns the interfaces of the kernel's PV network driver.
[[nodiscard]] std::vector<network_interface> read_network_interfaces(const system_root& root);

/// Whether a process named irqbalance runs. Only for a live system; unset if none is visible and
/// /proc hides other users' processes.
[[nodiscard]] std::optional<bool> find_irqbalance(const system_root& root);

/// Parses a mask of CPUs, "00000000,0000000f"; nullopt if the text is not a mask, else whether any
/// CPU is set.
[[nodiscard]] std::optional<bool> mask_has_cpu(std::string_view text);

}  // namespace xenpv::doctor
