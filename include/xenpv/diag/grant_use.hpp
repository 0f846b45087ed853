// How much of the user-space grant devices is in use: pages that processes share through
// /dev/xen/gntalloc and map through /dev/xen/gntdev, against the limits of their modules. The
// kernel tells no totals, so mappings are counted; others' processes need root (CAP_SYS_PTRACE).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::diag {

/// One process and the pages it has mapped of both devices.
struct grant_holder {
  unsigned pid = 0;
  std::string command = {};
  std::uint64_t shared = 0;  ///< gntalloc: ours, granted to others
  std::uint64_t mapped = 0;  ///< gntdev: others', granted to us
  friend bool operator==(const grant_holder&, const grant_holder&) = default;
};

/// Whether one more page can be shared: tried with a page for domain 0, taken back at once.
struct share_trial {
  bool worked = false;
  int error = 0;             ///< errno of the refusal; ENOSPC: the limit is used up
  std::string problem = {};  ///< in words
};

struct grant_use {
  std::optional<std::uint64_t> gntalloc_limit = {};  ///< pages, all processes together
  std::optional<std::uint64_t> gntdev_limit = {};  ///< pages a mapping, or a process in old kernels
  std::vector<grant_holder> holders = {};
  bool sees_all_processes = false;
  std::optional<share_trial> trial = {};  ///< unset where the device is not there or not ours

  [[nodiscard]] std::uint64_t shared() const noexcept;
  [[nodiscard]] std::uint64_t mapped() const noexcept;
};

/// Adds the mappings of one /proc/PID/maps.
void add_mappings(grant_holder& holder, std::string_view maps);

/// In a tree that is not the real root nothing is tried, and the capture's notes are read.
[[nodiscard]] grant_use read_grant_use(const system_root& root);

/// Everything but the limits, which are files, as a capture holds it.
[[nodiscard]] std::string format_grant_use(const grant_use& use);
void parse_grant_use(std::string_view text, grant_use& out);

}  // namespace xenpv::diag
