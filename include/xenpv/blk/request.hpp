// One request to a block device. Intrusive: submitting allocates nothing.
//
// Owned by the caller, which must not move or destroy it from submit() until `done` is called.
// Derive from it to add context. Does not use Asio, so that planners can be tested without I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>

namespace xenpv::blk {

class lease;

enum class operation : std::uint8_t { read, write, flush, discard, secure_discard };
inline constexpr std::size_t operation_count = 5;
[[nodiscard]] std::string_view to_string(operation op) noexcept;

struct request {
  /// Called once, on the queue's thread, when `status` is final. Returns the request to the caller,
  /// which may resubmit or destroy it here. Must not throw.
  using completion = void (*)(request&);

  operation op = operation::read;
  /// Write only: durable on completion.
  bool fua = false;
  std::uint64_t offset = 0;  ///< bytes; any alignment for read and write
  std::uint64_t length = 0;  ///< bytes; 0 for flush
  /// Read and write: `length` bytes of the caller's memory, copied; null when `pages` is set.
  std::byte* memory = nullptr;
  /// Read and write: pages of the queue (block_queue::try_lease for this byte range), not copied.
  /// The caller keeps ownership, except when the request fails while the backend may still access
  /// the pages: the lease is then empty.
  lease* pages = nullptr;
  completion done = nullptr;

  /// Unset on success. EIO: the backend failed the request; operation_not_supported: the backend
  /// does not support it (any more); invalid_argument: outside the device; read_only_file_system;
  /// ENOMEDIUM; never EFAULT. errc::timed_out: no response in time; errc::lost_connection,
  /// errc::protocol_violation: the device failed; ESHUTDOWN: it was unplugged; operation_canceled:
  /// it was closed.
  std::error_code status;
  /// When the device received the response, on the steady clock. The device reads the clock once
  /// for each batch of responses. Set before `done`; 0 if the device does not measure time.
  std::uint64_t answered_ns = 0;

  /// For the device only, from submit() until `done`.
  struct device_part {
    request* next = nullptr;
    std::uint64_t submitted_ns = 0;
    std::uint64_t order = 0;        ///< position among the requests submitted to the queue
    std::uint64_t planned = 0;      ///< bytes put into the ring so far
    std::uint64_t end = 0;          ///< bytes to put into the ring
    std::uint32_t outstanding = 0;  ///< unanswered ring requests
    std::uint16_t cursor = 0xFFFF;  ///< the page of `pages` at `planned`
    std::uint8_t phase = 0;
    std::uint8_t flags = 0;
  } device;
};

}  // namespace xenpv::blk
