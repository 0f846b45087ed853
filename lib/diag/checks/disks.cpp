// PV disks: what front end and back end agreed on, against what both could do. A feature that both
// ends offer and that is off is worth a warning; what a module parameter or another backend would
// make possible is only said.
#include <algorithm>

#include "diag/checks.hpp"
#include "xenpv/base/parse.hpp"

namespace xenpv::diag {
namespace {

// Linux' blkfront, unless its parameters say otherwise.
constexpr unsigned default_queues = 4;
constexpr unsigned default_ring_order = 0;
constexpr unsigned default_indirect = 32;
constexpr unsigned plain_segments = 11;  ///< BLKIF_MAX_SEGMENTS_PER_REQUEST

/// A disk's finding as it grows: what is on, what is wrong, what more there could be.
struct disk_words {
  std::vector<std::string> is;
  std::vector<std::string> wrong;
  std::vector<std::string> possible;
};

unsigned number_in(const store_nodes& nodes, std::string_view leaf, unsigned absent = 0) {
  const auto found = nodes.find(leaf);
  return found == nodes.end() ? absent : parse_whole<unsigned>(found->second).value_or(absent);
}

std::string joined(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, ", "));
}

void look_at_persistent(const disk_facts& disk, disk_words& words) {
  const bool front = number_in(disk.front, "feature-persistent") != 0;
  const bool back = number_in(disk.back, "feature-persistent") != 0;
  if (front && back)
    words.is.emplace_back("persistent grants");
  else if (back)
    words.wrong.emplace_back(
        "persistent grants are off, though the backend has them "
        "(xen_blkfront.feature_persistent=1)");
  else
    words.possible.emplace_back("persistent grants, which this backend has not");
}

void look_at_queues(const examination& of, const disk_facts& disk, disk_words& words) {
  const auto used = number_in(disk.front, "multi-queue-num-queues", 1);
  const auto offered = std::max(1U, number_in(disk.back, "multi-queue-max-queues", 1));
  const auto cpus = static_cast<unsigned>(std::max<std::size_t>(1, of.online.size()));
  const auto ours = of.blkfront.max_queues.value_or(std::min(default_queues, cpus));
  words.is.push_back(fmt::format("{} of {} queues", used, offered));
  const auto both = std::min({offered, cpus, ours});
  if (used < both)
    words.wrong.push_back(fmt::format("{} queues would be possible at both ends", both));
  else if (used < std::min(offered, cpus))
    words.possible.push_back(fmt::format("{} queues (xen_blkfront.max_queues={})",
                                         std::min(offered, cpus), std::min(offered, cpus)));
}

void look_at_ring(const examination& of, const disk_facts& disk, disk_words& words) {
  const auto used = number_in(disk.front, "ring-page-order");
  const auto offered = number_in(disk.back, "max-ring-page-order");
  const auto ours = of.blkfront.max_ring_page_order.value_or(default_ring_order);
  words.is.push_back(fmt::format("ring order {} of {}", used, offered));
  const auto both = std::min(offered, ours);
  if (used < both)
    words.wrong.push_back(fmt::format("ring order {} would be possible at both ends", both));
  else if (used < offered)
    words.possible.push_back(
        fmt::format("rings of {} pages for deep queues (xen_blkfront.max_ring_page_order={})",
                    1U << std::min(offered, 16U), offered));
}

void look_at_indirect(const examination& of, const disk_facts& disk, disk_words& words) {
  const auto offered = number_in(disk.back, "feature-max-indirect-segments");
  const auto ours = of.blkfront.max_indirect_segments.value_or(default_indirect);
  if (disk.max_segments)
    words.is.push_back(fmt::format("{} segments a request", *disk.max_segments));
  const auto both = std::min(offered, ours);
  if (!disk.max_segments || both <= plain_segments) {
    if (offered == 0) words.possible.emplace_back("indirect requests, which this backend has not");
    return;
  }
  if (*disk.max_segments <= plain_segments)
    words.wrong.push_back(
        fmt::format("indirect requests are off, though both ends could have {} segments", both));
  else if (*disk.max_segments < offered)
    words.possible.push_back(fmt::format(
        "{} segments a request (xen_blkfront.max_indirect_segments={})", offered, offered));
}

void look_at_flush(const disk_facts& disk, disk_words& words) {
  const bool offered = number_in(disk.back, "feature-flush-cache") != 0 ||
                       number_in(disk.back, "feature-barrier") != 0;
  if (disk.write_cache.empty()) return;
  const bool used = disk.write_cache.starts_with("write back");
  if (used)
    words.is.emplace_back("flush");
  else if (offered)
    words.wrong.emplace_back(
        "the backend has a write cache, and the kernel does not flush it "
        "(write_cache says write through)");
  else
    words.is.emplace_back("no flush: the backend says it has no write cache");
}

void look_at_discard(const disk_facts& disk, disk_words& words) {
  const bool offered = number_in(disk.back, "feature-discard") != 0;
  if (!disk.discard_max_bytes) return;
  if (*disk.discard_max_bytes > 0)
    words.is.emplace_back("discard");
  else if (offered)
    words.wrong.emplace_back("discard is off, though the backend has it");
}

void quote_nodes(const disk_facts& disk, finding& found) {
  const auto all = [](const store_nodes& nodes) {
    std::string out;
    for (const auto& [leaf, value] : nodes)
      if (leaf.starts_with("feature-") || leaf.starts_with("multi-queue") ||
          leaf.find("ring-page-order") != std::string::npos)
        out += fmt::format("{}{}={}", out.empty() ? "" : " ", leaf, value);
    return out.empty() ? std::string("no features") : out;
  };
  cite(found, disk.path, all(disk.front));
  cite(found, disk.backend, all(disk.back));
  if (disk.max_segments)
    cite(found, fmt::format("/sys/block/{}/queue/max_segments", disk.name),
         fmt::format("{}", *disk.max_segments));
  if (!disk.write_cache.empty())
    cite(found, fmt::format("/sys/block/{}/queue/write_cache", disk.name), disk.write_cache);
}

finding judge_disk(const examination& of, const disk_facts& disk) {
  finding found{.id = "disk-" + disk.name};
  if (disk.front.empty() || disk.back.empty()) {
    found.summary = fmt::format("{}: what its ends agreed on cannot be seen", disk.name);
    cite(found, disk.path,
         disk.front.empty() ? "its nodes cannot be read" : "its backend's cannot be read");
    found.cure = "the backend's directory is gone, or not readable";
    if (of.is_capture) found.cure = "a capture of a newer xenpv-evtchn has these nodes";
    if (!of.from.store.problem.empty()) found.cure = of.from.store.problem;
    return found;
  }
  constexpr unsigned connected = 4;  // XenbusStateConnected
  if (const auto state = number_in(disk.front, "state"); state != connected) {
    found.verdict = disk.kernel_drives ? health::fail : health::pass;
    found.summary = fmt::format("{} is not connected{}", disk.name,
                                disk.kernel_drives ? "" : ": nobody uses it");
    cite(found, disk.path + "/state", fmt::format("{}", state));
    if (disk.kernel_drives)
      found.cure = "look for blkfront in the kernel's log; is the backend up?";
    return found;
  }
  disk_words words;
  look_at_persistent(disk, words);
  look_at_queues(of, disk, words);
  look_at_ring(of, disk, words);
  if (disk.kernel_drives) {
    look_at_indirect(of, disk, words);
    look_at_flush(disk, words);
    look_at_discard(disk, words);
  }
  found.verdict = words.wrong.empty() ? health::pass : health::warn;
  found.summary = words.wrong.empty() ? fmt::format("{}: {}", disk.name, joined(words.is))
                                      : fmt::format("{}: {}", disk.name, joined(words.wrong));
  if (!words.wrong.empty())
    found.cure =
        "xen_blkfront's parameters are set on the kernel's command line, and count when a "
        "disk is attached";
  else if (!words.possible.empty())
    found.cure = "more would be: " + joined(words.possible);
  quote_nodes(disk, found);
  if (const auto* line = of.log.find_last(fmt::format("blkfront: {}:", disk.name)))
    cite(found, "kernel log", *line);
  return found;
}

/// A backend that has no write cache says so with a 0. One that says nothing may have a cache, and
/// nothing the guest can send empties it. Most backends say it once connected.
bool lacks_flush(const disk_facts& disk) {
  constexpr unsigned connected = 4;  // XenbusStateConnected
  const auto mode = disk.back.find("mode");
  return number_in(disk.front, "state") == connected && !disk.back.empty() &&
         !disk.back.contains("feature-flush-cache") && !disk.back.contains("feature-barrier") &&
         (mode == disk.back.end() || mode->second != "r");
}

finding judge_missing_flush(const disk_facts& disk) {
  finding found{.id = "flush-" + disk.name, .verdict = health::warn};
  found.summary = fmt::format(
      "{}: the backend offers neither flush nor barrier: a file system here cannot make its "
      "journal "
      "durable, and a crash of the backend's host may lose answered writes",
      disk.name);
  cite(found, disk.backend + "/feature-flush-cache", "absent");
  cite(found, disk.backend + "/feature-barrier", "absent");
  found.cure = "use a backend that offers feature-flush-cache, or storage without a volatile cache";
  return found;
}

}  // namespace

void check_disks(const examination& of, findings& out) {
  for (const auto& disk : of.disks) {
    out.push_back(judge_disk(of, disk));
    if (lacks_flush(disk)) out.push_back(judge_missing_flush(disk));
  }
}

}  // namespace xenpv::diag
