// The plain types of block devices: the size and features of a device, and one request to it. Does
// not use Asio, so that the planning of requests can be tested without I/O.
//
// A request is intrusive: submitting it does not allocate memory. It is owned by the caller, which
// must not move or destroy it from submit() until `done` is called. Derive from it to add context.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>

namespace xenpv::blk {

/// The size and features of a block device.
struct geometry {
  std::uint64_t size = 0;                    ///< bytes; 0 if the drive does not contain a medium
  std::uint32_t sector_size = 512;           ///< bytes; the logical sector size
  std::uint32_t physical_sector_size = 512;  ///< bytes; smaller writes may be slow
  bool read_only = false;                    ///< writes fail
  bool removable = false;                    ///< the medium can be changed
  bool cdrom = false;                        ///< the drive is a CD-ROM
  /// Flush and FUA are supported. Without them, a completed write is not known to be durable. Never
  /// set together with read_only.
  bool can_flush = false;
  bool can_discard = false;               ///< operation::discard is supported
  bool can_secure_discard = false;        ///< operation::secure_discard is supported
  std::uint64_t discard_granularity = 0;  ///< bytes; only whole granules can be discarded
  std::uint64_t discard_alignment = 0;    ///< bytes; offset of the first granule on the device
  /// In bytes. The device splits larger requests.
  std::uint64_t preferred_transfer = 0;

  friend bool operator==(const geometry&, const geometry&) = default;
};

class lease;

/// The operations of a block device.
enum class operation : std::uint8_t { read, write, flush, discard, secure_discard };
inline constexpr std::size_t operation_count = 5;  ///< number of enumerators of `operation`
/// Returns the name for messages: "secure discard".
[[nodiscard]] std::string_view to_string(operation op) noexcept;

struct request {
  /// Called once, on the queue's thread, when `status` is final. The caller then owns the request
  /// again and may resubmit or destroy it in this function. Must not throw.
  using completion = void (*)(request&);

  operation op = operation::read;  ///< determines which of the members below apply
  /// For writes: the data is durable on completion.
  bool fua = false;
  std::uint64_t offset = 0;  ///< in bytes; any alignment for reads and writes
  std::uint64_t length = 0;  ///< in bytes; 0 for a flush
  /// For reads and writes: `length` bytes of the caller's memory, which are copied. Null if `pages`
  /// is set.
  std::byte* memory = nullptr;
  /// For reads and writes: pages of the queue (block_queue::try_lease for this byte range), used
  /// without a copy. The caller keeps ownership, except when the request fails while the backend
  /// may still access the pages: the lease is then empty.
  lease* pages = nullptr;
  completion done = nullptr;  ///< required for block_queue::submit()

  /// Unset on success. Otherwise EIO: the backend failed the request; operation_not_supported: the
  /// backend does not support the operation, or no longer does; invalid_argument: outside the
  /// device; read_only_file_system; ENOMEDIUM; errc::timed_out: no response in time;
  /// errc::lost_connection or errc::protocol_violation: the device failed; ESHUTDOWN: the device
  /// was unplugged; operation_canceled: the device was closed. Never EFAULT.
  std::error_code status;
  /// Steady-clock time at which the response was received; the same for all responses in a batch.
  /// Set before `done` is called; 0 if the device does not measure time.
  std::uint64_t answered_ns = 0;

  /// Used by the device only, from submit() until `done`.
  struct device_part {
    request* next = nullptr;         ///< in the device's list that holds the request
    std::uint64_t submitted_ns = 0;  ///< steady-clock time
    std::uint64_t order = 0;         ///< position among the requests submitted to the queue
    std::uint64_t planned = 0;       ///< position up to which data has been sent
    std::uint64_t end = 0;           ///< end position of the data to send
    std::uint32_t outstanding = 0;   ///< ring requests without a response
    std::uint16_t cursor = 0xFFFF;   ///< the page in `pages` that contains byte `planned`
    std::uint8_t phase = 0;          ///< progress, as defined by the device
    std::uint8_t flags = 0;          ///< marks, as defined by the device
  } device;                          ///< the device's own state of this request
};

}  // namespace xenpv::blk
