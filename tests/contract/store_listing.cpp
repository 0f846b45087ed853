#include "contract/store_listing.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace xenpv::contract {

namespace {

// From libxl__domain_make(), libxl__build_post(), libxl__device_console_add() and
// device_disk_add() of libxl 4.17 and 4.20, and from captures of such guests.
constexpr listed_node guest_home[] = {
    {"", "n0,rG"},
    {"attr", "nG"},
    {"attr/**", "", node_presence::optional},
    {"bios-strings", "", node_presence::hvm},
    {"bios-strings/**", "", node_presence::hvm},
    {"console", "n0,rG"},
    {"console/backend", "n0,rG"},
    {"console/backend-id", "nG,r0"},
    {"console/limit", "n0,rG"},
    {"console/output", "n0,rG"},
    {"console/port", "n0,rG"},
    {"console/ring-ref", "n0,rG"},
    {"console/tty", "n0,rG"},
    {"console/type", "n0,rG"},
    {"console/vnc-listen", "", node_presence::optional},
    {"console/vnc-pass", "", node_presence::optional},
    {"console/vnc-port", "", node_presence::optional},
    {"control", "n0,rG"},
    {"control/feature-poweroff", "nG"},
    {"control/feature-reboot", "nG"},
    {"control/feature-s3", "nG", node_presence::hvm},
    {"control/feature-s4", "nG", node_presence::hvm},
    {"control/feature-suspend", "nG"},
    {"control/platform-feature-multiprocessor-suspend", "n0,rG"},
    {"control/platform-feature-xs_reset_watches", "n0,rG"},
    {"control/shutdown", "nG"},
    {"control/sysrq", "nG"},
    {"cpu", "n0,rG"},
    {"cpu/*", "n0,rG"},
    {"cpu/*/availability", "n0,rG"},
    {"data", "nG"},
    {"data/**", "", node_presence::optional},
    {"device", "n0,rG"},
    {"device/suspend", "n0,rG"},
    {"device/suspend/event-channel", "nG"},
    {"device/vbd", "n0,rG", node_presence::optional},
    {"device/vbd/*", "nG,r0", node_presence::optional},
    {"device/vbd/*/backend", "nG,r0", node_presence::optional},
    {"device/vbd/*/backend-id", "nG,r0", node_presence::optional},
    {"device/vbd/*/device-type", "nG,r0", node_presence::optional},
    {"device/vbd/*/state", "nG,r0", node_presence::optional},
    {"device/vbd/*/virtual-device", "nG,r0", node_presence::optional},
    {"device/vbd/*/**", "", node_presence::optional},
    {"device/*", "n0,rG", node_presence::optional},
    {"device/*/**", "", node_presence::optional},
    {"domid", "n0,rG"},
    {"drivers", "nG"},
    {"drivers/**", "", node_presence::optional},
    {"error", "nG"},
    {"error/**", "", node_presence::optional},
    {"feature", "nG"},
    {"feature/**", "", node_presence::optional},
    {"hvmloader", "n0,rG", node_presence::hvm},
    {"hvmloader/**", "", node_presence::hvm},
    // The process that serves QEMU's backends.
    {"image", "n0,rG", node_presence::optional},
    {"image/**", "", node_presence::optional},
    {"memory", "n0,rG"},
    {"memory/static-max", "n0,rG"},
    {"memory/target", "n0,rG"},
    {"memory/videoram", "n0,rG"},
    {"name", "n0,rG"},
    {"platform", "n0,rG", node_presence::hvm},
    {"platform/**", "", node_presence::hvm},
    {"serial", "", node_presence::hvm},
    {"serial/**", "", node_presence::hvm},
    {"store", "n0,rG"},
    {"store/port", "n0,rG"},
    {"store/ring-ref", "n0,rG"},
    {"vm", "n0,rG"},
};

// From libxl__domain_make() and libxl__domain_build().
constexpr listed_node guest_vm[] = {
    {"", "n0,rG"},
    {"image", "n0,rG", node_presence::pv},
    {"image/cmdline", "n0,rG", node_presence::pv_optional},
    {"image/kernel", "n0,rG", node_presence::pv},
    {"image/ostype", "n0,rG", node_presence::pv},
    {"image/ramdisk", "n0,rG", node_presence::pv_optional},
    {"image", "n0,rG", node_presence::hvm},
    {"image/ostype", "n0,rG", node_presence::hvm},
    {"memory", "", node_presence::optional},
    {"name", "n0,rG"},
    {"rtc", "n0,rG", node_presence::hvm},
    {"rtc/timeoffset", "", node_presence::hvm},
    {"start_time", "n0,rG"},
    {"uuid", "n0,rG"},
};

// From xen-init-dom0. Linux creates `control`; libxl, xenconsoled, the backends and the test
// programs create the other optional nodes.
constexpr listed_node domain_0[] = {
    {"", "n0"},
    {"backend", "n0", node_presence::optional},
    {"backend/**", "", node_presence::optional},
    {"control", "n0", node_presence::optional},
    {"control/feature-poweroff", "n0", node_presence::optional},
    {"control/feature-reboot", "n0", node_presence::optional},
    {"control/**", "", node_presence::optional},
    {"data", "n0", node_presence::optional},
    {"data/**", "", node_presence::optional},
    {"device", "n0", node_presence::optional},
    {"device/**", "", node_presence::optional},
    {"device-model", "n0", node_presence::optional},
    {"device-model/**", "", node_presence::optional},
    {"domid", "n0"},
    {"libxl", "n0", node_presence::optional},
    {"libxl/**", "", node_presence::optional},
    {"memory", "n0", node_presence::optional},
    {"memory/**", "", node_presence::optional},
    {"name", "n0"},
};

/// Splits a path after its first component.
std::pair<std::string_view, std::string_view> split_first(std::string_view path) {
  const auto slash = path.find('/');
  if (slash == std::string_view::npos) return {path, {}};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

bool matches(std::string_view pattern, std::string_view path) {
  if (pattern == "**") return !path.empty();
  if (pattern.empty() || path.empty()) return pattern.empty() && path.empty();
  const auto [expected, further] = split_first(pattern);
  const auto [component, rest] = split_first(path);
  return (expected == "*" || expected == component) && matches(further, rest);
}

bool may_exist(const listed_node& entry, guest_kind kind) {
  if (entry.presence == node_presence::hvm) return kind == guest_kind::hvm;
  if (entry.presence == node_presence::pv || entry.presence == node_presence::pv_optional)
    return kind == guest_kind::pv;
  return true;
}

bool must_exist(const listed_node& entry, guest_kind kind) {
  return entry.presence == node_presence::always ||
         (entry.presence == node_presence::pv && kind == guest_kind::pv);
}

std::string format_permissions(const std::vector<xs_permissions>& list, std::uint32_t guest) {
  std::string text;
  for (const auto& entry : list) {
    const bool may_read = (entry.perms & XS_PERM_READ) != 0;
    const bool may_write = (entry.perms & XS_PERM_WRITE) != 0;
    if (!text.empty()) text += ',';
    text += may_read ? (may_write ? 'b' : 'r') : may_write ? 'w' : 'n';
    text += entry.id == guest ? "G" : std::to_string(entry.id);
  }
  return text;
}

std::string in_quotes(std::string_view path) {
  return path.empty() ? "the directory" : '"' + std::string(path) + '"';
}

struct tree_reader {
  const store_session& store;
  std::string directory;
  std::uint32_t guest;
  std::vector<found_node> nodes{};

  void read(const std::string& path) {
    const auto absolute = path.empty() ? directory : directory + '/' + path;
    try {
      nodes.push_back({path, format_permissions(store.permissions(absolute), guest)});
      for (const auto& name : store.list(absolute))
        read(path.empty() ? name : path + '/' + name);
    } catch (const std::system_error& error) {
      // Another program may have removed the node in the meantime, or made it private.
      const auto code = error.code().value();
      if (path.empty() || (code != ENOENT && code != EACCES)) throw;
    }
  }
};

}  // namespace

std::span<const listed_node> guest_home_listing() {
  return guest_home;
}
std::span<const listed_node> guest_vm_listing() {
  return guest_vm;
}
std::span<const listed_node> domain_0_listing() {
  return domain_0;
}

std::vector<found_node> read_tree(const store_session& store, const std::string& directory,
                                  std::uint32_t guest) {
  tree_reader reader{store, directory, guest};
  reader.read("");
  return std::move(reader.nodes);
}

std::vector<std::string> differences(std::span<const listed_node> listing,
                                     const std::vector<found_node>& nodes, guest_kind kind) {
  std::vector<std::string> lines;
  std::vector<bool> exists(listing.size());
  for (const auto& node : nodes) {
    const auto entry = std::find_if(listing.begin(), listing.end(), [&](const listed_node& each) {
      return may_exist(each, kind) && matches(each.path, node.path);
    });
    if (entry == listing.end()) {
      lines.push_back("unexpected: " + in_quotes(node.path) + " (" + node.permissions + ')');
      continue;
    }
    exists[static_cast<std::size_t>(entry - listing.begin())] = true;
    if (!entry->permissions.empty() && entry->permissions != node.permissions)
      lines.push_back("other permissions: " + in_quotes(node.path) + " has " + node.permissions +
                      " instead of " + std::string(entry->permissions));
  }
  for (std::size_t i = 0; i < listing.size(); ++i)
    if (!exists[i] && must_exist(listing[i], kind))
      lines.push_back("missing: " + in_quotes(listing[i].path));
  return lines;
}

}  // namespace xenpv::contract
