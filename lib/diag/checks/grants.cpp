// The grant devices for user space: their limits, who uses how much, and whether one more page can
// be shared.
#include <algorithm>
#include <cerrno>

#include "diag/checks.hpp"

namespace xenpv::diag {
namespace {

constexpr const char* limit_file = "/sys/module/xen_gntalloc/parameters/limit";
constexpr const char* trial_words = "a page shared with domain 0 and taken back";

/// "xenpv-disk (310) 512, qemu (77) 11": the largest first.
std::string holders_text(const grant_use& use, std::uint64_t grant_holder::*pages) {
  auto all = use.holders;
  std::sort(all.begin(), all.end(),
            [pages](const grant_holder& a, const grant_holder& b) { return a.*pages > b.*pages; });
  std::string out;
  for (std::size_t i = 0; i < all.size() && i < 4 && all[i].*pages > 0; ++i)
    out +=
        fmt::format("{}{} ({}) {}", i == 0 ? "" : ", ", all[i].command, all[i].pid, all[i].*pages);
  if (out.empty()) out = "none";
  return use.sees_all_processes ? out : out + "; other users' processes cannot be seen";
}

std::string cure_of_limit(std::uint64_t limit) {
  return fmt::format(
      "echo {} > {}, and xen_gntalloc.limit={} on the kernel's command line; or end "
      "who holds them",
      limit * 4, limit_file, limit * 4);
}

void judge_gntalloc(const grant_use& use, finding& found) {
  const auto limit = *use.gntalloc_limit;
  const auto shared = use.shared();
  const bool is_full = use.trial && !use.trial->worked && use.trial->error == ENOSPC;
  if (is_full) {
    found.verdict = health::fail;
    found.summary =
        fmt::format("the limit of {} pages is used up: no process can share another page", limit);
    found.cure = cure_of_limit(limit);
  } else if (use.trial && !use.trial->worked) {
    found.verdict = health::fail;
    found.summary = "sharing a page does not work";
    found.cure = use.trial->problem;
  } else if (limit > 0 && shared * 10 >= limit * 8) {
    found.verdict = health::warn;
    found.summary = fmt::format("{} of {} pages are shared", shared, limit);
    found.cure = cure_of_limit(limit);
  } else if (!use.trial) {
    found.summary = fmt::format(
        "at least {} of {} pages are shared; whether another can be was not tried", shared, limit);
    found.cure = "start as root, in the guest itself";
  } else {
    found.verdict = health::pass;
    found.summary = fmt::format("{} of {} pages are shared, and another can be", shared, limit);
  }
}

void check_gntalloc(const examination& of, findings& out) {
  finding found{.id = "gntalloc"};
  const auto& use = of.grants;
  if (!use.gntalloc_limit) {
    found.summary = "no pages can be shared by processes: the module is not loaded";
    cite(found, limit_file, "absent");
    found.cure = "modprobe xen-gntalloc";
    out.push_back(std::move(found));
    return;
  }
  judge_gntalloc(use, found);
  cite(found, limit_file, fmt::format("{}", *use.gntalloc_limit));
  cite(found, "/proc/*/maps of /dev/xen/gntalloc, pages", holders_text(use, &grant_holder::shared));
  if (use.trial) cite(found, trial_words, use.trial->worked ? "works" : use.trial->problem);
  out.push_back(std::move(found));
}

void check_gntdev(const examination& of, findings& out) {
  finding found{.id = "gntdev"};
  constexpr const char* file = "/sys/module/xen_gntdev/parameters/limit";
  const auto& use = of.grants;
  if (!use.gntdev_limit) {
    found.summary = "no pages of others can be mapped by processes: the module is not loaded";
    cite(found, file, "absent");
    found.cure = "modprobe xen-gntdev; only backends and device models need it";
    out.push_back(std::move(found));
    return;
  }
  cite(found, file, fmt::format("{}", *use.gntdev_limit));
  cite(found, "/proc/*/maps of /dev/xen/gntdev, pages", holders_text(use, &grant_holder::mapped));
  std::uint64_t most = 0;
  for (const auto& each : use.holders)
    most = std::max(most, each.mapped);
  const auto limit = *use.gntdev_limit;
  found.verdict = limit > 0 && most * 10 >= limit * 8 ? health::warn : health::pass;
  found.summary = fmt::format("{} pages of other domains are mapped{}; the limit is {} a mapping",
                              use.mapped(), use.sees_all_processes ? "" : " by this user", limit);
  if (found.verdict == health::warn) found.cure = fmt::format("echo {} > {}", limit * 4, file);
  out.push_back(std::move(found));
}

}  // namespace

void check_grants(const examination& of, findings& out) {
  check_gntalloc(of, out);
  check_gntdev(of, out);
}

}  // namespace xenpv::diag
