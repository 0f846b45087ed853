// The machine on which the cases run, and their time limits. Only own_domid() opens a device: it
// queries xenstore once.
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>

namespace xenpv::contract {

/// Limit for an event that must happen; far above the time on an emulated host with two busy CPUs.
inline constexpr std::chrono::milliseconds time_limit{10'000};
/// How long to poll a descriptor that must stay quiet. A value that is too short can only hide a
/// failure.
inline constexpr std::chrono::milliseconds quiet{50};

/// DOMID_SELF and related values, in the type used by the libraries.
inline constexpr std::uint32_t self = 0x7FF0;
/// Below DOMID_FIRST_RESERVED, but higher than any ID that a toolstack assigns.
inline constexpr std::uint32_t nobody = 0x7ABC;

/// True inside `xenpv-sim run` or `xenpv-sim exec`.
[[nodiscard]] bool on_simulator();
/// Returns why no case can run here (one line); nullopt if cases can run.
[[nodiscard]] std::optional<std::string> reason_not_possible();

/// Returns the ID of this domain. Throws std::runtime_error if xenstore has no readable ID.
[[nodiscard]] std::uint32_t own_domid();
[[nodiscard]] inline bool in_dom0() {
  return own_domid() == 0;
}
/// The 17 of Xen 4.17, from /sys/hypervisor/version. Throws std::runtime_error if it is missing.
[[nodiscard]] unsigned xen_minor_version();
/// Another domain: 0 for guests. In dom0 it is 1, which need not exist.
[[nodiscard]] inline std::uint32_t other_domid() {
  return in_dom0() ? 1 : 0;
}

/// poll(2) for reading, restarted after signals.
[[nodiscard]] bool readable_within(int descriptor, std::chrono::milliseconds timeout);

/// The result of a C call and, after a failure, its errno.
struct outcome {
  bool ok;
  int error;
  friend bool operator==(const outcome&, const outcome&) = default;
};
std::ostream& operator<<(std::ostream& out, const outcome& value);

inline constexpr outcome succeeded{true, 0};
[[nodiscard]] constexpr outcome failed(int error) {
  return {false, error};
}

/// For calls that return a negative number on failure.
template <class Call>
[[nodiscard]] outcome attempt(Call&& call) {
  errno = 0;
  const auto value = call();
  return value < 0 ? failed(errno) : succeeded;
}

/// Polls `condition` until it is true or `time_limit` has passed; for events without a
/// notification, such as the exit of another process or a deferred release.
template <class Condition>
[[nodiscard]] bool comes_true(Condition&& condition) {
  const auto end = std::chrono::steady_clock::now() + time_limit;
  do {
    if (condition()) return true;
    static_cast<void>(readable_within(-1, std::chrono::milliseconds(2)));
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

/// Kills the process if a case hangs, and prints the name of the case.
void install_watchdog();

}  // namespace xenpv::contract
