// The argument of --fault: NAME=VALUE. Only parses it; the host (host.hpp) injects the faults.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "base/parse.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim {

/// The faults that can be injected into a simulated host. Default: none.
struct fault_switches {
  ratio event_lost{0, 1};     ///< events that never arrive
  ratio event_doubled{0, 1};  ///< events that arrive a second time
  ratio event_delayed{0, 1};  ///< events that arrive after a delay of event_delay
  std::chrono::nanoseconds event_delay{};
  ratio grant_refused{0, 1};               ///< share and map requests that fail
  std::chrono::nanoseconds store_delay{};  ///< delay of each guest xenstore request
  std::uint32_t store_fail_every = 0;      ///< every n-th guest xenstore request fails with EIO
  std::uint32_t store_eagain_every = 0;    ///< every n-th guest commit fails with EAGAIN
  std::uint32_t store_vanish_after = 0;    ///< xenstored disappears after n more guest requests
};

/// Parses `text` and sets the fault in `switches`:
///   event-lost=1/10  event-doubled=1/10  event-delayed=5ms[:1/10]  grant-refused=1/3
///   store-slow=20ms  store-fail=10  store-eagain=2  store-vanish=100  none
/// A ratio P/N affects the first P of every N. `none` clears all faults.
[[nodiscard]] result<void> parse_fault(std::string_view text, fault_switches& switches);

}  // namespace xenpv::sim
