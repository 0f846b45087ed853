// One request to a block device, as its caller owns it. Intrusive: submitting allocates nothing.
//
// Lives in the caller's memory, unmoved, from submit() until `done` is called; derive from it to
// carry your own context. Asio-free, so that planners can be tested without I/O.
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
  /// Called on the queue's thread, once, when `status` is final. The request is the caller's again:
  /// it may be submitted anew or destroyed here. Must not throw.
  using completion = void (*)(request&);

  operation op = operation::read;
  /// Write only: durable when it is answered.
  bool fua = false;
  std::uint64_t offset = 0;  ///< bytes; any alignment for read and write
  std::uint64_t length = 0;  ///< bytes; 0 for flush
  /// Read and write: `length` bytes of the caller's, copied; or null when `pages` is set.
  std::byte* memory = nullptr;
  /// Read and write: pages of the queue's own (block_queue::try_lease for this very stretch), not
  /// copied. Stays the caller's, but for pages that the backend may still touch when the request
  /// fails: the lease is empty then.
  lease* pages = nullptr;
  completion done = nullptr;

  /// Unset on success. EIO: the backend failed it; operation_not_supported: it cannot do that (any
  /// more); invalid_argument: outside the device; read_only_file_system; ENOMEDIUM; EFAULT never.
  /// errc::timed_out: no answer in time; errc::lost_connection, errc::protocol_violation: the
  /// device failed; ESHUTDOWN: it was unplugged; operation_canceled: it was closed.
  std::error_code status;
  /// When the device saw the answer, steady clock: the same for all it saw at once, for which it
  /// looks at the clock once. Set before `done`; 0 from a device that keeps no time.
  std::uint64_t answered_ns = 0;

  /// The device's while the request is with it; callers leave it alone.
  struct device_part {
    request* next = nullptr;
    std::uint64_t submitted_ns = 0;
    std::uint64_t order = 0;        ///< among those submitted to the same queue
    std::uint64_t planned = 0;      ///< bytes handed to the ring so far
    std::uint64_t end = 0;          ///< bytes to hand to it
    std::uint32_t outstanding = 0;  ///< ring requests without an answer
    std::uint16_t cursor = 0xFFFF;  ///< page of `pages` that `planned` has reached
    std::uint8_t phase = 0;
    std::uint8_t flags = 0;
  } device;
};

}  // namespace xenpv::blk
