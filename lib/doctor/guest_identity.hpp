// Identifies the domain in a snapshot: type, architecture, versions. Kernels before 4.13 do not
// report the type in sysfs, and captures that users post are often incomplete, so the kernel log
// and the rows of /proc/interrupts are used as well. Pure.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "channels/raw_facts.hpp"
#include "doctor/check_result.hpp"
#include "doctor/kernel_log.hpp"

namespace xenpv::doctor {

enum class architecture { unknown, x86, arm };
enum class domain_role { unknown, guest, control_domain };

/// The first two numbers of a kernel or Xen release.
struct release_number {
  unsigned major = 0;
  unsigned minor = 0;
  // NOLINTNEXTLINE(modernize-use-nullptr): the check mistakes the 0 in the generated code.
  friend auto operator<=>(const release_number&, const release_number&) = default;
};
/// Parses the start of "4.14.77-70.59.amzn1.x86_64". Returns nullopt for anything else.
[[nodiscard]] std::optional<release_number> parse_release(std::string_view text);

struct guest_identity {
  architecture machine = architecture::unknown;
  /// Unknown for a capture that lacks /proc/xen/capabilities and other evidence.
  domain_role role = domain_role::unknown;
  /// The evidence for the control domain; unset for other roles.
  std::optional<quote> role_source = {};
  /// Unset if neither the release nor xenstore shows the width of the kernel.
  std::optional<bool> is_64_bit = {};
  /// The evidence for the type; unset if it is unknown.
  std::optional<quote> type_source = {};
};

/// Returns the CPUs that came up at boot according to the log; empty if the line is missing.
[[nodiscard]] std::vector<unsigned> cpus_in_log(const kernel_log& log);

/// Identifies the domain. Sets the type and the Xen version in `facts`, and `kernel`, from the log
/// and the rows where the kernel's files lack them.
[[nodiscard]] guest_identity identify_guest(channels::raw_facts& facts, std::string& kernel,
                                            const kernel_log& log);

}  // namespace xenpv::doctor
