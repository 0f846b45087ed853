// Finds the event-channel ABI of a guest. Linux does not export it, so the evidence is the kernel's
// own message (drivers/xen/events, since Linux 3.14), the releases, port numbers and rows. Pure.
#pragma once

#include <optional>
#include <vector>

#include "doctor/guest_snapshot.hpp"

namespace xenpv::doctor {

inline constexpr const char* fifo_abi_message = "Using FIFO-based ABI";
inline constexpr release_number first_fifo_release{3, 14};

struct abi_finding {
  std::optional<channels::event_abi> abi = {};  ///< unset if it cannot be known
  std::vector<quote> evidence = {};             ///< may be empty if the ABI is unset
};

/// Uses the members that take_channel_snapshot() reads.
///
/// FIFO channels exist since Linux 3.14 and Xen 4.4. Since Linux 5.11 and in later releases of
/// older branches (commit "xen/events: only register debug interrupt for 2-level events"), only the
/// 2-level ABI has rows debugN; before, both ABIs had them.
[[nodiscard]] abi_finding find_event_abi(const guest_snapshot& snapshot);

}  // namespace xenpv::doctor
