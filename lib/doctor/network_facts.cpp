#include "doctor/network_facts.hpp"

#include <fmt/format.h>

#include "base/words.hpp"

namespace xenpv::doctor {
namespace {

void read_queues(const system_root& root, network_interface& out) {
  const auto queues_path = fmt::format("/sys/class/net/{}/queues", out.name);
  for (const auto& queue : root.names(queues_path)) {
    if (!queue.starts_with("rx-")) continue;
    ++out.rx_queues;
    const auto mask = root.read(fmt::format("{}/{}/rps_cpus", queues_path, queue));
    const auto has_cpu = mask ? mask_has_cpu(*mask) : std::nullopt;
    if (has_cpu) out.uses_rps = out.uses_rps.value_or(false) || *has_cpu;
  }
}

}  // namespace

std::vector<network_interface> read_network_interfaces(const system_root& root) {
  std::vector<network_interface> out;
  for (const auto& device : root.names("/sys/bus/xen/devices")) {
    if (!device.starts_with("vif-")) continue;
    for (const auto& name : root.names(fmt::format("/sys/bus/xen/devices/{}/net", device))) {
      network_interface entry{.device = device, .name = name};
      read_queues(root, entry);
      out.push_back(std::move(entry));
    }
  }
  return out;
}

std::optional<bool> find_irqbalance(const system_root& root) {
  for (const auto& name : root.names("/proc")) {
    if (!parse_whole<unsigned>(name)) continue;
    const auto command = root.read(fmt::format("/proc/{}/comm", name));
    if (command && trim(*command) == "irqbalance") return true;
  }
  // If other users' processes are hidden (proc(5), hidepid), so is process 1.
  return root.read("/proc/1/comm") ? std::optional(false) : std::nullopt;
}

std::optional<bool> mask_has_cpu(std::string_view text) {
  const auto mask = trim(text);
  if (mask.empty() || mask.find_first_not_of("0123456789abcdefABCDEF,") != std::string_view::npos)
    return std::nullopt;
  return mask.find_first_not_of("0,") != std::string_view::npos;
}

}  // namespace xenpv::doctor
