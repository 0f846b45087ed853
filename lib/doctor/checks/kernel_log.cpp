// Checks the kernel log for a missing platform device, a full or leaking grant table, and errors of
// PV disks. One row per subject, only if the log has such lines. log_devices.cpp, log_crash.cpp and
// log_clock.cpp check the rest of the log.
//
// Sources of the messages: arch/x86/xen/platform-pci-unplug.c, drivers/xen/grant-table.c
// (gnttab_expand since Linux 4.13, gnttab_end_foreign_access; qubes-issues#1328, #5519, #5674,
// #7539), drivers/block/xen-blkfront.c (xen-devel, June 2024: an offered feature may fail;
// blktap#111).
#include <set>

#include "base/words.hpp"
#include "doctor/log_lines.hpp"

namespace xenpv::doctor {
namespace {

bool is_disk_error(std::string_view line) {
  return contains(line, "I/O error") && (contains(line, "dev xvd") || contains(line, "device xvd"));
}

/// An operation that the backend offered and then refused; blkfront stops using it.
bool is_refused_operation(std::string_view line) {
  return contains(line, "blkfront") && contains(line, "op failed");
}

void check_disk_errors(const guest_snapshot& snapshot, check_results& out) {
  const auto errors = lines_with(snapshot, is_disk_error);
  const auto refused = lines_with(snapshot, is_refused_operation);
  if (errors.empty() && refused.empty()) return;
  check_result result{.id = "log-disks"};
  const bool stops_flushing = std::ranges::any_of(
      refused, [](const std::string& line) { return !contains(line, "discard"); });
  if (!errors.empty())
    conclude(result, health::fail,
             stops_flushing
                 ? "PV disks had I/O errors, and the backend refused flushes that it had offered"
                 : "PV disks had I/O errors",
             "the backend failed these requests: read the log of its domain, and check the file "
             "systems of this guest");
  else if (stops_flushing)
    conclude(result, health::warn,
             "the backend refused flushes or barriers that it had offered, and the kernel stopped "
             "sending them: file systems cannot make their journals durable",
             "use a backend whose storage can flush; see row flush of the disk");
  else
    conclude(
        result, health::pass,
        "the backend refused discards that it had offered, and the kernel stopped sending them");
  cite_lines(result, errors);
  cite_lines(result, refused);
  out.push_back(std::move(result));
}

/// If the platform device does not identify itself, xen_has_pv_devices() is false in an HVM guest,
/// and no PV frontend is registered. A PVH guest has no platform device and needs none (lkml, June
/// 2020).
void check_platform(const guest_snapshot& snapshot, check_results& out) {
  const auto lines = lines_with(snapshot, [](std::string_view line) {
    return contains(line, "Xen Platform PCI: unrecognised magic value");
  });
  if (lines.empty()) return;
  check_result result{.id = "log-platform"};
  const auto type = snapshot.from.guest.type;
  const bool has_frontend = std::ranges::any_of(snapshot.devices, [](const xenbus_device& device) {
    return !device.is_backend && device.has_driver;
  });
  if (type == xen::guest_type::pvh || type == xen::guest_type::pv) {
    conclude(result, health::pass,
             fmt::format("the message about the platform device is harmless in a {} guest",
                         to_string(type)));
  } else if (has_frontend || snapshot.was_booted_with(boot_option::unplug_unnecessary)) {
    conclude(result, health::pass, "the platform device is absent, but PV drivers are in use");
  } else if (type == xen::guest_type::hvm) {
    conclude(
        result, health::fail,
        "the Xen platform device is absent: no PV driver works, and disks and network are "
        "emulated",
        "set xen_platform_pci=1 in the guest's configuration; if the guest was started as PVH, "
        "boot a kernel with CONFIG_XEN_PVH");
  } else {
    conclude(result, health::unknown,
             "the Xen platform device is absent, which disables PV drivers in an HVM guest and "
             "means nothing in a PVH guest",
             "/sys/hypervisor/guest_type shows the type, and /sys/bus/xen/devices the PV devices");
  }
  cite_lines(result, lines);
  cite(result, "domain type", to_string(type));
  out.push_back(std::move(result));
}

bool is_full_table(std::string_view line) {
  return contains(line, "max_grant_frames reached");
}
/// A grant that a backend still maps when the frontend frees it.
bool is_leaked_grant(std::string_view line) {
  return (contains(line, "g.e.") &&
          (contains(line, "still in use") || contains(line, "still pending"))) ||
         contains(line, "leaking g.e.");
}

/// Grants that a backend still mapped. The kernel retries to free those that it deferred
/// (gnttab_handle_deferred), and forgets those for which it logs "leaking". One grant may have many
/// lines.
struct leaked_grants {
  std::size_t pending = 0;
  std::size_t lost = 0;
};

/// Returns the reference: "0x37f" of "WARNING: g.e. 0x37f still in use!". Linux 3.8 and older print
/// none.
std::string_view grant_in(std::string_view line) {
  constexpr std::string_view name = "g.e. ";
  const auto start = line.find(name);
  if (start == std::string_view::npos) return {};
  auto rest = line.substr(start + name.size());
  const auto word = next_word(rest).value_or("");
  return word.starts_with("0x") ? word : std::string_view();
}

leaked_grants count_grants(const line_list& lines) {
  std::set<std::string_view> pending;
  std::set<std::string_view> lost;
  leaked_grants unnamed;
  for (const auto& line : lines) {
    const bool is_lost = contains(line, "leaking g.e.");
    if (const auto grant = grant_in(line); !grant.empty())
      (is_lost ? lost : pending).insert(grant);
    else
      ++(is_lost ? unnamed.lost : unnamed.pending);
  }
  for (const auto& grant : lost)
    pending.erase(grant);
  // Without references, a lost grant has both lines.
  return {.pending = pending.size() + unnamed.pending - std::min(unnamed.pending, unnamed.lost),
          .lost = lost.size() + unnamed.lost};
}

std::string grants_text(const leaked_grants& grants) {
  const auto pending = [&](std::string_view thing) {
    return fmt::format(
        "{} {} still mapped by a backend when this domain freed {}: unusable until "
        "the backend unmaps {} or ends",
        counted(grants.pending, thing), grants.pending == 1 ? "was" : "were",
        grants.pending == 1 ? "it" : "them", grants.pending == 1 ? "it" : "them");
  };
  if (grants.lost == 0) return pending("grant");
  const auto lost = fmt::format("{} {} lost until a reboot, because a backend still mapped {}",
                                counted(grants.lost, "grant"), grants.lost == 1 ? "is" : "are",
                                grants.lost == 1 ? "it" : "them");
  return grants.pending == 0 ? lost : lost + "; " + pending("other grant");
}

void check_grant_table(const guest_snapshot& snapshot, check_results& out) {
  const auto full = lines_with(snapshot, is_full_table);
  const auto leaked = lines_with(snapshot, is_leaked_grant);
  if (full.empty() && leaked.empty()) return;
  check_result result{.id = "grant-table"};
  if (!full.empty())
    conclude(result, health::fail,
             "the grant table reached its limit: PV drivers wait for free grants, and I/O hangs",
             "on the host, raise max_grant_frames= of the guest (xl.cfg, Xen 4.10) or "
             "gnttab_max_frames= of the hypervisor; \"xen-diag gnttab_query_size DOMID\" shows the "
             "use. In the guest, use fewer queues (xen_blkfront.max_queues, "
             "xen_netfront.max_queues)");
  else
    conclude(result, health::warn, grants_text(count_grants(leaked)),
             "the backend leaks mappings, or ended uncleanly: read the log of its domain");
  cite_lines(result, full);
  cite_lines(result, leaked);
  out.push_back(std::move(result));
}

}  // namespace

void check_kernel_log(const guest_snapshot& snapshot, check_results& out) {
  check_platform(snapshot, out);
  check_grant_table(snapshot, out);
  check_disk_errors(snapshot, out);
}

}  // namespace xenpv::doctor
