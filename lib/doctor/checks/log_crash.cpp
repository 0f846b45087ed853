// Checks the kernel log for crashes in Xen's code, for a root disk or an init that was not found,
// and for CPUs or tasks that stalled in a PV driver. One row per subject, only if the log has such
// lines.
//
// Sources: init/do_mounts.c and init/main.c (the panics), drivers/xen/events/events_fifo.c
// (evtchn_fifo_resume); xen-devel, February 2021 (resume of PV and PVH guests); the Amazon EC2 user
// guide, "VFS: Unable to mount root fs on unknown-block"; rancher/os#711, qubes-issues#5887.
#include <array>

#include "doctor/log_lines.hpp"

namespace xenpv::doctor {
namespace {

/// "kernel BUG at drivers/xen/events/events_fifo.c:369!".
bool is_xen_bug(std::string_view line) {
  constexpr auto places = std::to_array<std::string_view>(
      {"drivers/xen/", "arch/x86/xen/", "arch/arm/xen/", "xen-blkfront", "xen-netfront",
       "xen-netback", "xen-blkback"});
  return contains(line, "kernel BUG at ") &&
         std::ranges::any_of(places, [&](std::string_view place) { return contains(line, place); });
}

/// The maximum distance between a call trace and its message, in lines.
constexpr std::size_t longest_trace = 60;

bool is_root_panic(std::string_view line) {
  return contains(line, "Kernel panic") && contains(line, "Unable to mount root fs");
}

/// The kernel mounted its root, and found no program to start.
bool is_init_panic(std::string_view line) {
  return contains(line, "Kernel panic") &&
         (contains(line, "No init found") || contains(line, "No working init found"));
}

/// Whether the trace of a crash in Xen's code shows that the kernel resumed: it rebinds its event
/// channels then (xen_irq_resume).
bool is_in_resume(const std::vector<std::string>& lines) {
  std::size_t end_of_trace = 0;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (is_xen_bug(lines[i])) end_of_trace = i + longest_trace;
    if (i < end_of_trace &&
        (contains(lines[i], "xen_irq_resume") || contains(lines[i], "xen_suspend+")))
      return true;
  }
  return false;
}

void judge_panic(bool has_root, check_result& result) {
  if (has_root)
    return conclude(
        result, health::fail,
        "the root file system contains no init: it is on the wrong disk, empty or damaged",
        "check that root= names the disk and partition with the root file system, and that init= "
        "names a program on it; check the file system from a rescue system");
  conclude(result, health::fail,
           "the kernel did not find its root file system: the PV disk is missing, has another "
           "name, or has no driver",
           "check that the disk is attached, that root= uses its name in this kernel (xvda1; sda1 "
           "in XenLinux) or its UUID, and that the kernel or initramfs contains xen-blkfront");
}

void check_bugs(const guest_snapshot& snapshot, check_results& out) {
  const auto bugs = lines_with(snapshot, is_xen_bug);
  const auto panics = lines_with(
      snapshot, [](std::string_view line) { return is_root_panic(line) || is_init_panic(line); });
  if (bugs.empty() && panics.empty()) return;
  check_result result{.id = "log-crash"};
  const bool is_resume = is_in_resume(snapshot.log.lines);
  if (!bugs.empty())
    conclude(result, health::fail,
             is_resume
                 ? "the kernel crashed in Xen's code while it resumed from a suspend, save or "
                   "migration"
                 : "the kernel crashed in Xen's code",
             is_resume ? "update the guest's kernel and Xen; until then, do not suspend, save or "
                         "migrate this guest"
                       : "update the guest's kernel, and search for the file and line");
  else
    judge_panic(is_init_panic(panics.back()), result);
  cite_lines(result, bugs);
  cite_lines(result, panics);
  out.push_back(std::move(result));
}

bool is_stall(std::string_view line) {
  return contains(line, "soft lockup") || contains(line, "blocked for more than");
}

/// Functions and modules of PV drivers, as call traces show them.
bool is_in_driver(std::string_view line) {
  constexpr auto parts = std::to_array<std::string_view>(
      {"xennet_", "[xen_netfront]", "blkif_", "blkfront_", "[xen_blkfront]", "xenbus_",
       "read_reply", "xs_talkv", "xs_wait_for_reply", "gnttab_", "pcifront_", "xenwatch_thread"});
  return contains(line, "+0x") &&
         std::ranges::any_of(parts, [&](std::string_view part) { return contains(line, part); });
}

void check_stalls(const guest_snapshot& snapshot, check_results& out) {
  line_list quotes;
  const auto& lines = snapshot.log.lines;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (!is_stall(lines[i])) continue;
    for (auto j = i + 1; j < lines.size() && j <= i + longest_trace && !is_stall(lines[j]); ++j) {
      if (!is_in_driver(lines[j])) continue;
      quotes.push_back(lines[i]);
      quotes.push_back(lines[j]);
      break;
    }
  }
  if (quotes.empty()) return;
  check_result result{.id = "log-stalls"};
  conclude(result, health::warn,
           counted(quotes.size() / 2, "stall") + " of a CPU or task with a PV driver in its trace",
           "the backend or xenstore did not answer, or the host did not run this guest: compare "
           "with row steal, and read the log of the backend's domain");
  cite_lines(result, quotes);
  out.push_back(std::move(result));
}

}  // namespace

void check_log_crash(const guest_snapshot& snapshot, check_results& out) {
  check_bugs(snapshot, out);
  check_stalls(snapshot, out);
}

}  // namespace xenpv::doctor
