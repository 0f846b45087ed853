#include "xenpv/xen/guest.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/parse.hpp"
#include "xen/known_devices.hpp"

namespace xenpv::xen {
namespace {

// The sysfs text for a value that the Xen security policy hides from this guest.
constexpr std::string_view denied = "<denied>";

guest_type read_guest_type(const system_root& root) {
  if (root.read("/sys/hypervisor/type") != "xen") return guest_type::none;
  const auto text = root.read("/sys/hypervisor/guest_type");
  if (text == "PV") return guest_type::pv;
  if (text == "PVH") return guest_type::pvh;
  if (text == "HVM") return guest_type::hvm;
  if (text == "Xen") return guest_type::xen_arm;
  return guest_type::unknown;
}

std::optional<std::string> read_version(const system_root& root) {
  const auto major = root.read("/sys/hypervisor/version/major");
  const auto minor = root.read("/sys/hypervisor/version/minor");
  if (!major || !minor || *major == denied || *minor == denied) return std::nullopt;
  const auto extra = root.read("/sys/hypervisor/version/extra").value_or("");
  return fmt::format("{}.{}{}", *major, *minor, extra == denied ? "" : extra);
}

xen_device inspect(const known_device& device, const system_root& root) {
  const auto path = root.path(device.path);
  return {.path = std::string(device.path),
          .module = std::string(device.module),
          .present = root.exists(device.path),
          // Checks the effective user, like open(2).
          .accessible = ::faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK, AT_EACCESS) == 0};
}

std::optional<unsigned> read_gntalloc_limit(const system_root& root) {
  const auto text = root.read("/sys/module/xen_gntalloc/parameters/limit");
  if (!text) return std::nullopt;
  const auto limit =
      parse_unsigned(*text, "gntalloc limit", 0, std::numeric_limits<unsigned>::max());
  if (!limit) return std::nullopt;
  return static_cast<unsigned>(*limit);
}

}  // namespace

std::string_view to_string(guest_type type) noexcept {
  switch (type) {
    case guest_type::none:
      return "none";
    case guest_type::pv:
      return "PV";
    case guest_type::pvh:
      return "PVH";
    case guest_type::hvm:
      return "HVM";
    case guest_type::xen_arm:
      return "Xen";
    case guest_type::unknown:
      return "unknown";
  }
  return "unknown";
}

const xen_device* guest_facts::device(std::string_view path) const noexcept {
  for (const auto& candidate : devices)
    if (candidate.path == path) return &candidate;
  return nullptr;
}

guest_facts read_guest_facts(const system_root& root) {
  guest_facts facts;
  facts.type = read_guest_type(root);
  facts.xen_version = read_version(root);
  const auto capabilities = root.read("/proc/xen/capabilities");
  facts.is_control_domain = capabilities && capabilities->find("control_d") != std::string::npos;
  for (const auto& device : known_devices)
    facts.devices.push_back(inspect(device, root));
  facts.gntalloc_limit = read_gntalloc_limit(root);
  return facts;
}

std::vector<std::string> missing_device_cures(const guest_facts& facts) {
  std::vector<std::string> commands;
  if (!facts.runs_on_xen()) return commands;
  for (const auto& device : facts.devices) {
    const auto* known = find_known_device(device.path);
    if (!device.present && known != nullptr) commands.emplace_back(known->load);
  }
  return commands;
}

}  // namespace xenpv::xen
