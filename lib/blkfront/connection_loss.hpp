// How a connection to a backend ended, as far as it matters for what the backend's cache held.
// Plain values; who decides is connection_machine, who acts on it is each queue.
#pragma once

#include <cstdint>

namespace xenpv::blkfront {

/// Whether writes that the backend answered and did not flush are safe.
enum class connection_loss : std::uint8_t {
  orderly,  ///< closed by both ends, or the guest was suspended: the backend kept its cache
  abrupt,   ///< a crash, a kill, a directory removed: what was in its cache may be gone
};

}  // namespace xenpv::blkfront
