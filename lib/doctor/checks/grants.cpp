// Checks the user-space grant devices: their limits, the processes that use them, and whether one
// more page can be shared.
#include <algorithm>
#include <cerrno>
#include <functional>

#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

constexpr const char* limit_file = "/sys/module/xen_gntalloc/parameters/limit";
constexpr const char* remedy_for_capture = "a capture made by xenpv-evtchn as root shows it";
constexpr const char* trial_source = "probe: a page shared with domain 0, then revoked";

/// Lists the processes with the most pages first: "xenpv-disk (310) 512, qemu (77) 11".
std::string holders_text(const grant_use& use, std::uint64_t grant_holder::*pages) {
  auto all = use.holders;
  std::ranges::sort(all, std::ranges::greater(), pages);
  std::string out;
  for (std::size_t i = 0; i < all.size() && i < 4 && all[i].*pages > 0; ++i)
    out +=
        fmt::format("{}{} ({}) {}", i == 0 ? "" : ", ", all[i].command, all[i].pid, all[i].*pages);
  if (out.empty()) out = "none";
  return use.sees_all_processes ? out : out + "; other users' processes are not visible";
}

std::string remedy_for_limit(std::uint64_t limit) {
  return fmt::format(
      "echo {} > {}, and xen_gntalloc.limit={} on the kernel command line; or stop the processes "
      "that share the pages",
      limit * 4, limit_file, limit * 4);
}

void judge_gntalloc(const grant_use& use, check_result& result) {
  const auto limit = *use.gntalloc_limit;
  const auto shared = use.shared();
  const bool is_full = use.trial && !use.trial->worked && use.trial->error == ENOSPC;
  if (is_full) {
    conclude(
        result, health::fail,
        fmt::format("the limit of {} pages is reached: no process can share another page", limit),
        remedy_for_limit(limit));
  } else if (use.trial && !use.trial->worked) {
    conclude(result, health::fail, "sharing a page fails", use.trial->problem);
  } else if (limit > 0 && shared * 10 >= limit * 8) {
    conclude(result, health::warn, fmt::format("{} of {} pages are shared", shared, limit),
             remedy_for_limit(limit));
  } else if (!use.trial) {
    conclude(
        result, health::unknown,
        fmt::format(
            "at least {} of {} pages are shared; whether another page can be shared was not tested",
            shared, limit),
        "run as root, in the guest itself");
  } else {
    conclude(
        result, health::pass,
        fmt::format("{} of {} pages are shared, and another page can be shared", shared, limit));
  }
}

/// Posted files show the limit at most, not the use.
quote limit_quote(const char* file, std::optional<std::uint64_t> limit) {
  return {file, limit ? fmt::format("{}", *limit) : std::string("not in the capture")};
}

void check_gntalloc(const guest_snapshot& snapshot, check_results& out) {
  const auto& use = snapshot.grants;
  if (!use.was_examined)
    return add_unknown(out, "gntalloc", "whether processes can share pages cannot be determined",
                       limit_quote(limit_file, use.gntalloc_limit), remedy_for_capture);
  if (!use.gntalloc_limit)
    return add_unknown(out, "gntalloc", "processes cannot share pages: the module is not loaded",
                       {limit_file, "absent"}, "modprobe xen-gntalloc");
  check_result result{.id = "gntalloc"};
  judge_gntalloc(use, result);
  cite(result, limit_file, fmt::format("{}", *use.gntalloc_limit));
  cite(result, "/proc/*/maps of /dev/xen/gntalloc, pages",
       holders_text(use, &grant_holder::shared));
  if (use.trial) cite(result, trial_source, use.trial->worked ? "works" : use.trial->problem);
  out.push_back(std::move(result));
}

void check_gntdev(const guest_snapshot& snapshot, check_results& out) {
  constexpr const char* file = "/sys/module/xen_gntdev/parameters/limit";
  const auto& use = snapshot.grants;
  if (!use.was_examined)
    return add_unknown(out, "gntdev",
                       "whether processes can map pages of other domains cannot be determined",
                       limit_quote(file, use.gntdev_limit), remedy_for_capture);
  if (!use.gntdev_limit)
    return add_unknown(
        out, "gntdev", "processes cannot map pages of other domains: the module is not loaded",
        {file, "absent"}, "modprobe xen-gntdev; only backends and device models require it");
  check_result result{.id = "gntdev"};
  cite(result, file, fmt::format("{}", *use.gntdev_limit));
  cite(result, "/proc/*/maps of /dev/xen/gntdev, pages", holders_text(use, &grant_holder::mapped));
  std::uint64_t most = 0;
  for (const auto& holder : use.holders)
    most = std::max(most, holder.mapped);
  const auto limit = *use.gntdev_limit;
  result.verdict = limit > 0 && most * 10 >= limit * 8 ? health::warn : health::pass;
  result.summary =
      fmt::format("{} pages of other domains are mapped{}; the limit is {} per mapping",
                  use.mapped(), use.sees_all_processes ? "" : " by this user", limit);
  if (result.verdict == health::warn) result.remedy = fmt::format("echo {} > {}", limit * 4, file);
  out.push_back(std::move(result));
}

}  // namespace

void check_grants(const guest_snapshot& snapshot, check_results& out) {
  check_gntalloc(snapshot, out);
  check_gntdev(snapshot, out);
}

}  // namespace xenpv::doctor
