// The interface through which an engine accesses a disk's data. One store per ring, used on that
// ring's thread; several stores may share one medium (memory_store.hpp).
//
// Does not check sizes and sectors: the engine rejects requests outside the disk.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

namespace xenpv::blkback {

enum class store_op : std::uint8_t { read, write, flush, discard, secure_discard };

/// One operation. Owned by the engine, and must not move until `done` is called.
struct store_request {
  store_op op = store_op::read;
  std::uint64_t offset = 0;  ///< bytes
  std::uint64_t length = 0;  ///< bytes; for a read or write: the total size of `pieces`
  std::span<const iovec> pieces;
  /// Called once, on the ring's thread, possibly from within submit(). `error`: 0 (success) or an
  /// errno. EOPNOTSUPP becomes the response status of the same name; any other error becomes ERROR.
  void (*done)(store_request&, int error) noexcept = nullptr;
};

class store {
 public:
  virtual ~store() = default;
  /// Starts `request`. Any number may be in flight; they complete in any order. A flush covers the
  /// writes completed before its submission, through any store of the same medium.
  virtual void submit(store_request& request) noexcept = 0;
};

}  // namespace xenpv::blkback
