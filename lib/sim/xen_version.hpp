// The Xen versions that the simulator can reproduce. Each difference that a program can observe is
// a field of an options struct; this file provides the field's value for each version.
#pragma once

#include <string_view>

#include "sim/store_control_options.hpp"
#include "sim/store_quota.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim {

enum class xen_version { xen_4_17, xen_4_20 };

/// Returns "4.17" or "4.20".
[[nodiscard]] std::string_view to_string(xen_version version) noexcept;
[[nodiscard]] result<xen_version> parse_xen_version(std::string_view text);

/// The contents of the files in /sys/hypervisor/version, without the newline.
struct xen_version_files {
  std::string_view major, minor, extra;
};
[[nodiscard]] xen_version_files files_of(xen_version version) noexcept;

/// Returns xenstored's limits in that version.
[[nodiscard]] store_quota quota_of(xen_version version) noexcept;
/// Returns how xenstored answers CONTROL requests in that version. It may write files.
[[nodiscard]] store_control_options controls_of(xen_version version) noexcept;

}  // namespace xenpv::sim
