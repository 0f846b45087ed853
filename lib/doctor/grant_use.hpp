// Use of the user-space grant devices: pages that processes share through /dev/xen/gntalloc and map
// through /dev/xen/gntdev, against the limits of their modules. The kernel exposes no totals, so
// mappings are counted; other users' processes need root (CAP_SYS_PTRACE).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::doctor {

/// One process and its mapped pages of both devices.
struct grant_holder {
  unsigned pid = 0;
  std::string command = {};
  std::uint64_t shared = 0;  ///< gntalloc: pages of this domain, granted to others
  std::uint64_t mapped = 0;  ///< gntdev: pages of other domains, granted to this one
  friend bool operator==(const grant_holder&, const grant_holder&) = default;
};

/// Whether one more page can be shared: tried with a page for domain 0, which is revoked at once.
struct share_trial {
  bool worked = false;
  int error = 0;             ///< errno of the refusal; ENOSPC: the limit is reached
  std::string problem = {};  ///< error message
};

struct grant_use {
  std::optional<std::uint64_t> gntalloc_limit = {};  ///< pages of all processes together
  std::optional<std::uint64_t> gntdev_limit = {};    ///< pages per mapping (old kernels: process)
  std::vector<grant_holder> holders = {};
  bool sees_all_processes = false;
  std::optional<share_trial> trial = {};  ///< unset if the device is absent or not accessible

  [[nodiscard]] std::uint64_t shared() const noexcept;
  [[nodiscard]] std::uint64_t mapped() const noexcept;
};

/// Adds the mappings in the text of one /proc/PID/maps.
void add_mappings(grant_holder& holder, std::string_view text);

/// In a tree that is not the real root, tries nothing and reads the notes of the capture.
[[nodiscard]] grant_use read_grant_use(const system_root& root);

/// Everything except the limits, which are files, in the form of a capture.
[[nodiscard]] std::string format_grant_use(const grant_use& use);
void parse_grant_use(std::string_view text, grant_use& out);

}  // namespace xenpv::doctor
