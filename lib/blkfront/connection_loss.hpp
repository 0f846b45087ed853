// The end of a connection to a backend and its effect on the backend's write cache.
// connection_machine chooses the value and each queue acts on it.
#pragma once

#include <cstdint>

namespace xenpv::blkfront {

/// Whether completed but unflushed writes are safe.
enum class connection_loss : std::uint8_t {
  orderly,  ///< closed by both ends, or the guest was suspended: the backend kept its cache
  abrupt,   ///< a crash, a kill or a removed directory: the backend may have lost its cache
};

}  // namespace xenpv::blkfront
