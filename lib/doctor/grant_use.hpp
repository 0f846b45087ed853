// Usage and limits of the user-space grant devices: pages that processes share through
// /dev/xen/gntalloc and map through /dev/xen/gntdev. The kernel does not expose totals, so the
// mappings of each process are counted. Reading the mappings of other users' processes requires
// root (CAP_SYS_PTRACE).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::doctor {

/// A process and the number of pages that it has mapped through each device.
struct grant_holder {
  unsigned pid = 0;
  std::string command = {};
  std::uint64_t shared = 0;  ///< gntalloc: pages of this domain, granted to others
  std::uint64_t mapped = 0;  ///< gntdev: pages of other domains, granted to this one
  friend bool operator==(const grant_holder&, const grant_holder&) = default;
};

/// The result of a run-time probe: whether one more page can be shared. The probe grants a page to
/// domain 0 and revokes the grant immediately.
struct share_trial {
  bool worked = false;
  int error = 0;             ///< errno of the failed call; ENOSPC: limit reached
  std::string problem = {};  ///< error message
};

struct grant_use {
  std::optional<std::uint64_t> gntalloc_limit = {};  ///< total for all processes, in pages
  std::optional<std::uint64_t> gntdev_limit = {};  ///< limit per mapping (old kernels: per process)
  std::vector<grant_holder> holders = {};
  bool sees_all_processes = false;
  /// False for a capture that was not made by xenpv-evtchn: absent files prove nothing.
  bool was_examined = true;
  std::optional<share_trial> trial = {};  ///< unset if the device is absent or not accessible

  [[nodiscard]] std::uint64_t shared() const noexcept;
  [[nodiscard]] std::uint64_t mapped() const noexcept;
};

/// Adds the mappings listed in `text`, the contents of a /proc/PID/maps file.
void add_mappings(grant_holder& holder, std::string_view text);

/// For a capture, reads the recorded results. Runs the probe only if `root` is "/".
[[nodiscard]] grant_use read_grant_use(const system_root& root, bool is_capture);

/// Formats the facts for a capture, except the limits. The capture contains the limits as files.
[[nodiscard]] std::string format_grant_use(const grant_use& use);
void parse_grant_use(std::string_view text, grant_use& out);

}  // namespace xenpv::doctor
