// Checks PV disks: compares the features that frontend and backend negotiated with the features
// that both support. Warns if a feature that both ends support is off. Only mentions improvements
// that require a module parameter or a different backend.
//
// Where xenstore is not readable, blkfront's own line in the kernel log shows what it uses
// (blkfront_connect and xlvbd_flush in drivers/block/xen-blkfront.c): "blkfront: xvda: barrier or
// flush: disabled; persistent grants: enabled; indirect descriptors: enabled;".
#include <algorithm>
#include <functional>
#include <map>

#include "base/words.hpp"
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

// Defaults of Linux blkfront; its module parameters override them.
constexpr unsigned default_queues = 4;
constexpr unsigned default_ring_order = 0;
constexpr unsigned default_indirect = 32;
constexpr unsigned plain_segments = 11;  ///< BLKIF_MAX_SEGMENTS_PER_REQUEST
constexpr unsigned connected = 4;        ///< XenbusStateConnected

/// A disk's active features, problems and possible improvements.
struct disk_notes {
  std::vector<std::string> active;
  std::vector<std::string> problems;
  std::vector<std::string> improvements;
};

unsigned number_in(const channels::store_nodes& nodes, std::string_view leaf, unsigned absent = 0) {
  const auto it = nodes.find(leaf);
  return it == nodes.end() ? absent : parse_whole<unsigned>(it->second).value_or(absent);
}

std::string joined(const std::vector<std::string>& items) {
  return fmt::format("{}", fmt::join(items, ", "));
}

void note_persistent(const disk_facts& disk, disk_notes& notes) {
  const bool front = number_in(disk.front, "feature-persistent") != 0;
  const bool back = number_in(disk.back, "feature-persistent") != 0;
  if (front && back)
    notes.active.emplace_back("persistent grants");
  else if (back)
    notes.problems.emplace_back(
        "persistent grants are off, though the backend offers them "
        "(xen_blkfront.feature_persistent=1)");
  else
    notes.improvements.emplace_back("persistent grants, which this backend lacks");
}

void note_queues(const guest_snapshot& snapshot, const disk_facts& disk, disk_notes& notes) {
  const auto used = number_in(disk.front, "multi-queue-num-queues", 1);
  const auto offered = std::max(1U, number_in(disk.back, "multi-queue-max-queues", 1));
  const auto cpus = static_cast<unsigned>(std::max<std::size_t>(1, snapshot.online.size()));
  const auto ours = snapshot.blkfront.max_queues.value_or(std::min(default_queues, cpus));
  notes.active.push_back(fmt::format("{} of {} queues", used, offered));
  const auto both = std::min({offered, cpus, ours});
  if (used < both)
    notes.problems.push_back(fmt::format("fewer queues than the {} that both ends support", both));
  else if (used < std::min(offered, cpus))
    notes.improvements.push_back(fmt::format("{} queues (xen_blkfront.max_queues={})",
                                             std::min(offered, cpus), std::min(offered, cpus)));
}

void note_ring(const guest_snapshot& snapshot, const disk_facts& disk, disk_notes& notes) {
  const auto used = number_in(disk.front, "ring-page-order");
  const auto offered = number_in(disk.back, "max-ring-page-order");
  const auto ours = snapshot.blkfront.max_ring_page_order.value_or(default_ring_order);
  notes.active.push_back(fmt::format("ring order {} of {}", used, offered));
  const auto both = std::min(offered, ours);
  if (used < both)
    notes.problems.push_back(
        fmt::format("the ring order is below {}, which both ends support", both));
  else if (used < offered)
    notes.improvements.push_back(
        fmt::format("rings of {} pages for deep queues (xen_blkfront.max_ring_page_order={})",
                    1U << std::min(offered, 16U), offered));
}

void note_indirect(const guest_snapshot& snapshot, const disk_facts& disk, disk_notes& notes) {
  const auto offered = number_in(disk.back, "feature-max-indirect-segments");
  const auto ours = snapshot.blkfront.max_indirect_segments.value_or(default_indirect);
  if (disk.max_segments)
    notes.active.push_back(fmt::format("{} segments per request", *disk.max_segments));
  const auto both = std::min(offered, ours);
  if (!disk.max_segments || both <= plain_segments) {
    if (offered == 0)
      notes.improvements.emplace_back("indirect requests, which this backend lacks");
    return;
  }
  if (*disk.max_segments <= plain_segments)
    notes.problems.push_back(
        fmt::format("indirect requests are off, though both ends support {} segments", both));
  else if (*disk.max_segments < offered)
    notes.improvements.push_back(fmt::format(
        "{} segments per request (xen_blkfront.max_indirect_segments={})", offered, offered));
}

void note_flush(const disk_facts& disk, disk_notes& notes) {
  const bool offered = number_in(disk.back, "feature-flush-cache") != 0 ||
                       number_in(disk.back, "feature-barrier") != 0;
  if (disk.write_cache.empty()) return;
  const bool used = disk.write_cache.starts_with("write back");
  if (used)
    notes.active.emplace_back("flush");
  else if (offered)
    notes.problems.emplace_back(
        "the backend has a write cache that the kernel does not flush (write_cache is 'write "
        "through')");
  else
    notes.active.emplace_back("no flush: the backend reports no write cache");
}

void note_discard(const disk_facts& disk, disk_notes& notes) {
  const bool offered = number_in(disk.back, "feature-discard") != 0;
  if (!disk.discard_max_bytes) return;
  if (*disk.discard_max_bytes > 0)
    notes.active.emplace_back("discard");
  else if (offered)
    notes.problems.emplace_back("discard is off, though the backend supports it");
}

void quote_nodes(const disk_facts& disk, check_result& result) {
  const auto all = [](const channels::store_nodes& nodes) {
    std::string out;
    for (const auto& [leaf, value] : nodes)
      if (leaf.starts_with("feature-") || leaf.starts_with("multi-queue") ||
          leaf.find("ring-page-order") != std::string::npos)
        out += fmt::format("{}{}={}", out.empty() ? "" : " ", leaf, value);
    return out.empty() ? std::string("no features") : out;
  };
  cite(result, disk.path, all(disk.front));
  cite(result, disk.backend, all(disk.back));
  if (disk.max_segments)
    cite(result, fmt::format("/sys/block/{}/queue/max_segments", disk.name),
         fmt::format("{}", *disk.max_segments));
  if (!disk.write_cache.empty())
    cite(result, fmt::format("/sys/block/{}/queue/write_cache", disk.name), disk.write_cache);
}

/// The last blkfront log line about the features of a disk.
struct logged_disk {
  std::string features = {};  ///< "barrier or flush: disabled; ..."; empty without such a line
  const std::string* last_line = nullptr;
};
/// Keyed by the name of the disk.
using logged_disks = std::map<std::string, logged_disk, std::less<>>;

constexpr std::string_view log_prefix = "blkfront: ";

logged_disks disks_in_log(const kernel_log& log) {
  logged_disks out;
  for (const auto& line : log.lines) {
    const auto start = line.find(log_prefix);
    if (start == std::string::npos) continue;
    const auto rest = std::string_view(line).substr(start + log_prefix.size());
    const auto end = rest.find(": ");
    if (end == std::string_view::npos || rest.find(' ') < end) continue;
    auto& disk = out[std::string(rest.substr(0, end))];
    disk.last_line = &line;
    auto text = trim(rest.substr(end + 2));
    const bool names_features = text.starts_with("barrier") || text.starts_with("flush");
    if (!names_features || text.find("abled") == std::string_view::npos) continue;
    if (text.ends_with(';')) text.remove_suffix(1);
    disk.features = std::string(text);
  }
  return out;
}

const logged_disk* find_logged(const logged_disks& logged, std::string_view name) {
  const auto disk = logged.find(name);
  return disk == logged.end() || disk->second.features.empty() ? nullptr : &disk->second;
}

check_result judge_logged(const std::string& name, const std::string& features) {
  check_result result{.id = "disk-" + name};
  const auto summary = fmt::format("{}, according to the kernel log: {}", name, features);
  // The first feature is the flush: "barriers disabled", "barrier: disabled", "barrier or flush:
  // disabled; ...". The log does not show a read-only disk, which needs no flush, nor the backend's
  // storage.
  const auto flush = std::string_view(features).substr(0, features.find(';'));
  const bool has_no_flush = flush.find("disabled") != std::string_view::npos;
  conclude(result, has_no_flush ? health::unknown : health::pass, summary,
           has_no_flush
               ? "harmless only if the disk is read-only, or if its storage has no volatile "
                 "write cache: xenstore (as root) and the host's configuration show it"
               : "xenstore, which only root can read, shows what the backend offers");
  cite(result, "kernel log", fmt::format("{}{}: {}", log_prefix, name, features));
  return result;
}

/// A log may name more disks than any guest has.
void judge_all_logged(const logged_disks& logged, check_results& out) {
  constexpr std::size_t most = 64;
  std::size_t count = 0;
  for (const auto& [name, disk] : logged) {
    if (disk.features.empty()) continue;
    if (++count <= most) out.push_back(judge_logged(name, disk.features));
  }
  if (count > most)
    add_unknown(out, "disk-others",
                counted(count - most, "more disk") + " in the kernel log were not judged",
                {"kernel log", counted(count, "disk")},
                "run xenpv-doctor in the guest itself, where it judges all disks");
}

check_result judge_disk(const guest_snapshot& snapshot, const logged_disks& logged,
                        const disk_facts& disk) {
  check_result result{.id = "disk-" + disk.name};
  const bool is_connected = number_in(disk.front, "state") == connected;
  if (!disk.error.empty() && !disk.front.empty() && !is_connected) {
    conclude(
        result, health::fail,
        fmt::format("{} does not work: its driver failed with error {}", disk.name, disk.error),
        "the number is an errno; the kernel log and the backend's domain show the cause");
    cite(result, fmt::format("error/{}/error", disk.path), disk.error);
    cite(result, disk.path + "/state", fmt::format("{}", number_in(disk.front, "state")));
    return result;
  }
  if (disk.front.empty() || disk.back.empty())
    if (const auto* found = find_logged(logged, disk.name))
      return judge_logged(disk.name, found->features);
  if (disk.front.empty() || disk.back.empty()) {
    result.summary = disk.name + ": the negotiated features cannot be determined";
    cite(result, disk.path,
         disk.front.empty() ? "the frontend's nodes cannot be read"
                            : "the backend's nodes cannot be read");
    result.remedy = "the backend's directory was removed, or is not readable";
    if (snapshot.is_capture)
      result.remedy = "a capture made by a newer xenpv-evtchn contains these nodes";
    if (!snapshot.from.store.problem.empty()) result.remedy = snapshot.from.store.problem;
    return result;
  }
  if (const auto state = number_in(disk.front, "state"); state != connected) {
    cite(result, disk.path + "/state", fmt::format("{}", state));
    if (disk.kernel_drives)
      conclude(result, health::fail, disk.name + " is not connected",
               "look for blkfront in the kernel log, and check that the backend is running");
    else
      conclude(result, health::pass, disk.name + " is not connected: not in use");
    return result;
  }
  disk_notes notes;
  note_persistent(disk, notes);
  note_queues(snapshot, disk, notes);
  note_ring(snapshot, disk, notes);
  if (disk.kernel_drives) {
    note_indirect(snapshot, disk, notes);
    note_flush(disk, notes);
    note_discard(disk, notes);
  }
  if (!notes.problems.empty()) {
    conclude(result, health::warn, fmt::format("{}: {}", disk.name, joined(notes.problems)),
             "set the xen_blkfront parameters on the kernel command line; they take effect when a "
             "disk is attached");
  } else {
    conclude(result, health::pass, fmt::format("{}: {}", disk.name, joined(notes.active)));
    if (!notes.improvements.empty())
      result.remedy = "possible improvements: " + joined(notes.improvements);
  }
  quote_nodes(disk, result);
  if (const auto found = logged.find(disk.name); found != logged.end())
    cite(result, "kernel log", *found->second.last_line);
  return result;
}

/// A backend without a write cache publishes 0. A backend that publishes neither node may have a
/// cache that the guest cannot flush. Most backends publish the nodes only when they connect.
bool lacks_flush(const disk_facts& disk) {
  const auto mode = disk.back.find("mode");
  return number_in(disk.front, "state") == connected && !disk.back.empty() &&
         !disk.back.contains("feature-flush-cache") && !disk.back.contains("feature-barrier") &&
         (mode == disk.back.end() || mode->second != "r");
}

check_result judge_missing_flush(const disk_facts& disk) {
  check_result result{.id = "flush-" + disk.name};
  conclude(result, health::warn,
           disk.name +
               ": the backend offers neither flush nor barrier: a file system on this disk cannot "
               "make its journal durable, and a crash of the backend's host may lose acknowledged "
               "writes",
           "use a backend that offers feature-flush-cache, or storage without a volatile cache");
  cite(result, disk.backend + "/feature-flush-cache", "absent");
  cite(result, disk.backend + "/feature-barrier", "absent");
  return result;
}

}  // namespace

void check_disks(const guest_snapshot& snapshot, check_results& out) {
  const auto logged = disks_in_log(snapshot.log);
  for (const auto& disk : snapshot.disks) {
    out.push_back(judge_disk(snapshot, logged, disk));
    if (lacks_flush(disk)) out.push_back(judge_missing_flush(disk));
  }
  // Without sysfs and xenstore, the log shows the disks.
  if (snapshot.disks.empty()) judge_all_logged(logged, out);
}

}  // namespace xenpv::doctor
