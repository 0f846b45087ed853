// Facts about the machine on which the cases run, and time limits. Only own_domid() opens a device:
// it queries xenstore once.
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>

namespace xenpv::contract {

/// Time limit for an event that must happen; far above what an emulated host with two busy CPUs
/// needs.
inline constexpr std::chrono::milliseconds time_limit{10'000};
/// How long to poll a descriptor that must stay quiet. Too short a time cannot make a case fail; it
/// can only hide a failure.
inline constexpr std::chrono::milliseconds quiet{50};

/// DOMID_SELF, in the type that the libraries use.
inline constexpr std::uint32_t self = 0x7FF0;
/// ID of a domain that does not exist: below DOMID_FIRST_RESERVED, but higher than any ID that a
/// toolstack assigns.
inline constexpr std::uint32_t nobody = 0x7ABC;

/// Returns true inside `xenpv-sim run` or `xenpv-sim exec`.
[[nodiscard]] bool on_simulator();
/// Returns one line that states why the cases cannot run here; nullopt if they can.
[[nodiscard]] std::optional<std::string> reason_not_possible();

/// Returns this domain's ID. Throws std::runtime_error if xenstore does not have a readable ID.
[[nodiscard]] std::uint32_t own_domid();
[[nodiscard]] inline bool in_dom0() {
  return own_domid() == 0;
}
/// Returns, for example, 17 for Xen 4.17. Throws std::runtime_error if
/// /sys/hypervisor/version/minor cannot be read.
[[nodiscard]] unsigned xen_minor_version();
/// Returns another domain's ID: 0 in a guest, and 1 in dom0, where domain 1 need not exist.
[[nodiscard]] inline std::uint32_t other_domid() {
  return in_dom0() ? 1 : 0;
}

/// Returns true if `descriptor` becomes readable within `timeout`. Restarts poll(2) after signals.
[[nodiscard]] bool readable_within(int descriptor, std::chrono::milliseconds timeout);

/// Whether a C call succeeded, and the errno if it failed.
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

/// Calls a function that returns a negative number on failure, and returns the outcome.
template <class Call>
[[nodiscard]] outcome attempt(Call&& call) {
  errno = 0;
  const auto value = call();
  return value < 0 ? failed(errno) : succeeded;
}

/// Polls `condition` until it is true or `time_limit` has passed. Use it for events that cannot be
/// waited for, such as another process's exit or a deferred release.
template <class Condition>
[[nodiscard]] bool comes_true(Condition&& condition) {
  const auto end = std::chrono::steady_clock::now() + time_limit;
  do {
    if (condition()) return true;
    static_cast<void>(readable_within(-1, std::chrono::milliseconds(2)));
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

/// Installs a watchdog: if a case hangs, it prints the case's name and ends the process.
void install_watchdog();

}  // namespace xenpv::contract
