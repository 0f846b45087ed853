// What keeps a disk's bytes, as an engine uses it. One store object for each ring, used on that
// ring's thread; several may keep the same bytes (memory_store.hpp).
//
// Knows no sizes and no sectors: the engine lets nothing through that is outside the disk.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

namespace xenpv::blkback {

enum class store_op : std::uint8_t { read, write, flush, discard, secure_discard };

/// One piece of work. The engine's, unmoved, until `done` is called.
struct store_request {
  store_op op = store_op::read;
  std::uint64_t offset = 0;  ///< bytes
  std::uint64_t length = 0;  ///< bytes; of read and write: that of all `pieces` together
  std::span<const iovec> pieces;
  /// Called once, on the ring's thread; from within submit() if it is done by then. `error`: 0, or
  /// an errno (EOPNOTSUPP is passed on as such, all else as a failure).
  void (*done)(store_request&, int error) noexcept = nullptr;
};

class store {
 public:
  virtual ~store() = default;
  /// Starts `request`. Any number at once, in no order between them. A flush covers the writes that
  /// were done before it was submitted, through whatever store of the same bytes.
  virtual void submit(store_request& request) noexcept = 0;
};

}  // namespace xenpv::blkback
