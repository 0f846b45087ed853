// What the cases know about the machine they run on, and how long they wait.
// Nothing here opens a device except own_domid(), which asks xenstore once.
#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>

namespace xenpv::contract {

/// Longest wait for something that must happen; an emulated host with two busy CPUs stays well
/// below.
inline constexpr std::chrono::milliseconds patience{10'000};
/// How long a descriptor is watched when nothing must happen. Too short can only hide a failure.
inline constexpr std::chrono::milliseconds quiet{50};

/// DOMID_SELF and the values around it, as the libraries take them.
inline constexpr std::uint32_t self = 0x7FF0;
/// Below DOMID_FIRST_RESERVED, and no toolstack gets this far.
inline constexpr std::uint32_t nobody = 0x7ABC;

/// True inside `xenpv-sim run` or `xenpv-sim exec`.
[[nodiscard]] bool on_simulator();
/// Why no case can run here (one line); nullopt when they can.
[[nodiscard]] std::optional<std::string> reason_not_possible();

/// Number of the domain this process runs in. Throws std::runtime_error when xenstore does not
/// tell.
[[nodiscard]] std::uint32_t own_domid();
[[nodiscard]] inline bool in_dom0() {
  return own_domid() == 0;
}
/// Some existing domain that is not ours: 0 for guests. In dom0 it need not exist: 1.
[[nodiscard]] inline std::uint32_t other_domid() {
  return in_dom0() ? 1 : 0;
}

/// poll(2) for reading, restarted after signals.
[[nodiscard]] bool readable_within(int descriptor, std::chrono::milliseconds timeout);

/// What a C call returned and, if that was a failure, the errno it left.
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

/// Repeats `condition` until it holds or `patience` is over; for what another process finishes in
/// its own time (an exit, a deferred release) and nobody announces.
template <class Condition>
[[nodiscard]] bool comes_true(Condition&& condition) {
  const auto end = std::chrono::steady_clock::now() + patience;
  do {
    if (condition()) return true;
    static_cast<void>(readable_within(-1, std::chrono::milliseconds(2)));
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

/// Kills the process when one case takes longer than any wait in it could, and says which case it
/// was.
void install_watchdog();

}  // namespace xenpv::contract
