#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <ratio>
#include <utility>

#include "sim/store_path.hpp"
#include "sim/toolstack.hpp"

namespace xenpv::sim {
namespace {

struct guest_node {
  std::string_view name;
  std::string_view value;
  bool is_guests_own = false;  ///< owned by the guest; otherwise, the guest may only read it
};

/// The nodes that libxl creates for every PVH guest, in its order. Linux has already announced the
/// shutdown requests that it handles (`control/feature-*`).
constexpr std::array<guest_node, 22> guest_nodes = {{
    {"cpu", ""},
    {"memory", ""},
    {"device", ""},
    {"device/suspend/event-channel", "", true},
    {"control", ""},
    {"control/shutdown", "", true},
    {"control/feature-poweroff", "1", true},
    {"control/feature-reboot", "1", true},
    {"control/feature-suspend", "1", true},
    {"control/sysrq", "", true},
    {"data", "", true},
    {"drivers", "", true},
    {"feature", "", true},
    {"attr", "", true},
    {"error", "", true},
    {"control/platform-feature-multiprocessor-suspend", "1"},
    {"control/platform-feature-xs_reset_watches", "1"},
    {"memory/static-max", "262144"},
    {"memory/target", "262144"},
    {"memory/videoram", "0"},
    {"store/port", "1"},
    // The page of a PVH guest's memory that libxl reserves for xenstore.
    {"store/ring-ref", "1044476"},
}};

using node_value = std::pair<std::string_view, std::string_view>;

/// The nodes of the primary console that the guest may only read.
constexpr std::array<node_value, 6> console_nodes = {{
    {"limit", "1048576"},
    {"type", "xenconsoled"},
    {"output", "pty"},
    {"tty", ""},
    {"port", "2"},
    {"ring-ref", "1044479"},
}};

constexpr std::array<node_value, 3> console_backend_nodes = {{
    {"online", "1"},
    {"state", "1"},
    {"protocol", "vt100"},
}};

std::string console_backend_path(domid domain) {
  return fmt::format("/local/domain/0/backend/console/{}/0", domain);
}

/// libxl's private directory of a domain.
std::string libxl_path(domid domain) {
  return fmt::format("/libxl/{}", domain);
}

std::string vm_path(std::string_view uuid) {
  return fmt::format("/vm/{}", uuid);
}

std::string format_start_time() {
  using hundredths = std::chrono::duration<std::int64_t, std::centi>;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto count = std::chrono::duration_cast<hundredths>(now).count();
  return fmt::format("{}.{:02}", count / 100, count % 100);
}

std::array<store_permission, 1> owned_by(domid domain) {
  return {store_permission{domain, false, false}};
}

/// `owner` owns the node, and `reader` may read it.
std::array<store_permission, 2> readable(domid owner, domid reader) {
  return {store_permission{owner, false, false}, store_permission{reader, true, false}};
}

}  // namespace

void toolstack::build_domain(domid domain, const std::string& name,
                             std::span<const disk_spec> disks) {
  if (domain == domid_0)
    build_domain_0(name);
  else
    build_guest(domain, name);
  for (const auto& disk : disks)
    build_disk(domain, name, disk);
  store_.introduce(domain);
}

void toolstack::build_domain_0(const std::string& name) {
  const auto closed = owned_by(domid_0);
  const auto top = domain_path(domid_0);
  // Linux announces the shutdown requests that it handles, and xen-init-dom0 writes the other
  // nodes.
  write(top + "/control/feature-poweroff", "1", closed);
  write(top + "/control/feature-reboot", "1", closed);
  write(top + "/domid", "0", closed);
  write(top + "/name", name, closed);
  write("/local/pool/0/name", "Pool-0", closed);
}

std::string toolstack::uuid_of(domid domain) {
  const auto known = uuids_.find(domain);
  if (known != uuids_.end()) return known->second;
  auto uuid = fmt::format("00000000-0000-0000-0000-{:012}", ++uuids_created_);
  uuids_.emplace(domain, uuid);
  return uuid;
}

void toolstack::build_guest(domid domain, const std::string& name) {
  const auto read_only = readable(domid_0, domain);
  const auto own = owned_by(domain);
  const auto closed = owned_by(domid_0);
  const auto top = domain_path(domain);
  const auto uuid = uuid_of(domain);
  write(top, "", read_only);
  write(top + "/vm", vm_path(uuid), read_only);
  write(top + "/name", name, read_only);
  for (const auto& node : guest_nodes) {
    const auto path = fmt::format("{}/{}", top, node.name);
    if (node.is_guests_own)
      write(path, node.value, own);
    else
      write(path, node.value, read_only);
  }
  write(top + "/domid", fmt::format("{}", domain), read_only);
  for (unsigned cpu = 0; cpu < cpus_; ++cpu)
    write(fmt::format("{}/cpu/{}/availability", top, cpu), "online", read_only);

  write(vm_path(uuid), "", read_only);
  write(vm_path(uuid) + "/uuid", uuid, read_only);
  write(vm_path(uuid) + "/name", name, read_only);
  write(vm_path(uuid) + "/start_time", format_start_time(), read_only);

  write(libxl_path(domain), "", closed);
  write(libxl_path(domain) + "/device", "", closed);
  write(libxl_path(domain) + "/type", "pvh", closed);
  write(libxl_path(domain) + "/dm-version", "qemu_xen", closed);
  build_console(domain);
}

void toolstack::build_console(domid domain) {
  const auto read_only = readable(domid_0, domain);
  const auto closed = owned_by(domid_0);
  const auto front = domain_path(domain) + "/console";
  const auto back = console_backend_path(domain);
  // libxl keeps a copy of the backend's nodes where no other domain can change it.
  const auto copy = libxl_path(domain) + "/device/console/0";
  const auto number = fmt::format("{}", domain);

  write(copy + "/frontend", front, closed);
  write(copy + "/backend", back, closed);
  write(copy + "/frontend-id", number, closed);
  write(front, "", read_only);
  write(front + "/backend", back, read_only);
  write(front + "/backend-id", "0", readable(domain, domid_0));
  for (const auto& [node, value] : console_nodes)
    write(fmt::format("{}/{}", front, node), value, read_only);
  write(back, "", read_only);
  write(back + "/frontend", front, read_only);
  write(back + "/frontend-id", number, read_only);
  for (const auto& [node, value] : console_backend_nodes) {
    write(fmt::format("{}/{}", back, node), value, read_only);
    write(fmt::format("{}/{}", copy, node), value, closed);
  }
}

void toolstack::remove_tree(domid domain, std::span<const disk_spec> disks) {
  for (const auto& disk : disks)
    store_.remove(backend_path(domain, disk));
  store_.remove(std::string(parent_store_path(console_backend_path(domain))));
  if (const auto known = uuids_.find(domain); known != uuids_.end())
    store_.remove(vm_path(known->second));
  store_.remove(libxl_path(domain));
  store_.remove(domain_path(domain));
}

void toolstack::destroy_domain(domid domain, std::span<const disk_spec> disks) {
  store_.release(domain);
  remove_tree(domain, disks);
  uuids_.erase(domain);
}

void toolstack::rebuild_domain(domid old_domain, domid new_domain, const std::string& name,
                               std::span<const disk_spec> disks, bool storage_moved) {
  if (storage_moved) ++storage_moves_[name];
  if (old_domain != new_domain) store_.release(old_domain);
  remove_tree(old_domain, disks);
  // The guest keeps its UUID.
  if (auto uuid = uuids_.extract(old_domain)) {
    uuid.key() = new_domain;
    uuids_.insert(std::move(uuid));
  }
  build_domain(new_domain, name, disks);
}

}  // namespace xenpv::sim
