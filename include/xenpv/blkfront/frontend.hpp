// A user-space block frontend: drives one PV disk that the toolstack attached to the guest. Opens,
// serves and closes the device on the CPUs of a guest session.
//
// The frontend runs on the session's control thread, and each queue on a CPU thread. The frontend
// does not unbind the kernel driver from the device.
//
// I/O pauses when the backend closes the connection, restarts or vanishes, and when the guest is
// saved, restored or migrated. Unanswered and new requests then wait (at most
// options::recovery_timeout) and are sent to the next backend. A request is resent only after all
// earlier requests to the same bytes have completed. Overlapping writes that were in flight
// together may be applied in either order, as on any block device. Waiting requests use the
// caller's memory; to bound memory use, limit the number of requests in flight. Completed but
// unflushed writes may be lost with the backend's cache. They count as safe after an orderly close
// and after a suspend of the guest. If the backend is lost in any other way, the next flush fails
// once (options::trust_backend_cache).
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/async/guest_session.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/blk/block_device.hpp"
#include "xenpv/blkfront/options.hpp"
#include "xenpv/blkfront/statistics.hpp"

namespace xenpv::blkfront {

/// The state of a frontend's device.
enum class device_state {
  connected,
  recovering,  ///< the backend was lost; requests wait for the next one
  unplugged,   ///< the toolstack detached the disk
  failed,      ///< see frontend::failure_reason()
  closed,      ///< close() was called
};
/// Returns the name of the enumerator: "connected".
[[nodiscard]] std::string_view to_string(device_state state) noexcept;

/// How flushes and FUA writes are implemented.
enum class flush_support {
  none,     ///< refused: the backend has never offered flush, or options::strict_flush is set
  cache,    ///< BLKIF_OP_FLUSH_DISKCACHE
  barrier,  ///< an empty BLKIF_OP_WRITE_BARRIER, on a device with one queue
  /// Flushes succeed without reaching the backend, because a backend that offered flush has refused
  /// a flush or has reconnected without the feature. Writes are not known to be durable.
  ignored,
};
/// Returns the name of the enumerator: "cache".
[[nodiscard]] std::string_view to_string(flush_support support) noexcept;

/// Properties of the connection, read at the last connect.
struct connection_facts {
  std::string device;            ///< "device/vbd/51728"
  std::string backend;           ///< backend directory
  domid backend_domain{};        ///< the domain that runs the backend
  unsigned queues = 1;           ///< number of queues, each with a ring and an event channel
  unsigned ring_page_order = 0;  ///< each ring has 2^order pages
  unsigned segments = 11;        ///< maximum number of segments per request
  bool persistent = false;       ///< both ends use persistent grants
  bool trusted = true;  ///< false: the backend is not trusted, and pages are zeroed after use
  /// Also changes to `ignored` while connected if the backend refuses a flush despite offering the
  /// feature.
  flush_support flush = flush_support::none;
  std::size_t pages = 0;  ///< granted pages, including ring pages
};

class frontend final : public blk::block_device {
 public:
  using executor_type = asio::any_io_executor;

  /// Connects to `device`, which is a relative or absolute xenstore path ("device/vbd/51728") or a
  /// virtual device number. Resets a connection that an earlier frontend did not close. Call on the
  /// control thread.
  ///
  /// Throws `failure`: timed_out, with the states of both ends; not_available if the device does
  /// not exist or the hotplug script could not prepare it; xenstore errors; grant device errors,
  /// with the page limit; protocol_violation if the backend nodes are invalid.
  ///
  /// Cancellation: terminal, partial, total. Closes the device like close(), then throws
  /// operation_aborted.
  [[nodiscard]] static asio::awaitable<std::unique_ptr<frontend>> open(
      async::guest_session& session, std::string device, options options = {});

  /// Like open(), for a disk that was connected before, possibly by another process. `identity` is
  /// the result of an earlier identity() call. Throws errc::wrong_disk if the disk's size, access
  /// mode or backend nodes differ from `identity`.
  [[nodiscard]] static asio::awaitable<std::unique_ptr<frontend>> open_again(
      async::guest_session& session, std::string device, options options, std::string identity);

  /// close() should have completed. Otherwise the destructor logs a warning and starts close() on
  /// the control thread; the session's close() waits for it. Destroy the frontend on the control
  /// executor, before the session's close() returns; later, the program is terminated.
  ~frontend() override;

  /// The session's control executor.
  [[nodiscard]] executor_type get_executor() const;

  [[nodiscard]] std::size_t queue_count() const noexcept override;
  [[nodiscard]] blk::block_queue& queue(std::size_t index) noexcept override;

  /// Call facts(), shape(), state() and failure_reason() on the control thread.
  [[nodiscard]] const connection_facts& facts() const noexcept;
  /// Reflects the last change reported to the control thread; a queue's shape() may be newer.
  [[nodiscard]] const blk::geometry& shape() const noexcept;
  /// Changes are reported to on_change().
  [[nodiscard]] device_state state() const noexcept;
  /// Set once the device is unplugged or has failed.
  [[nodiscard]] const std::optional<error>& failure_reason() const noexcept;
  /// Sets a callback that runs on the control thread after shape(), state() or facts().flush has
  /// changed. Exceptions from the callback are logged.
  void on_change(std::function<void()> callback);

  /// These functions can be called from any executor and run on queue 0. They throw `failure`.
  /// @{
  [[nodiscard]] asio::awaitable<void> read(std::uint64_t offset, std::span<std::byte> buffer);
  [[nodiscard]] asio::awaitable<void> write(std::uint64_t offset, std::span<const std::byte> data,
                                            bool fua = false);
  [[nodiscard]] asio::awaitable<void> flush();
  [[nodiscard]] asio::awaitable<void> discard(std::uint64_t offset, std::uint64_t length);
  /// @}

  /// Returns one line that identifies this disk, for open_again(). Call on the control thread.
  [[nodiscard]] asio::awaitable<std::string> identity();

  /// Returns one snapshot per queue.
  [[nodiscard]] asio::awaitable<std::vector<queue_statistics>> statistics();
  /// Call on the control thread.
  [[nodiscard]] const recovery_statistics& recovery() const noexcept;

  /// Waits for requests in flight (bounded), performs the closing handshake with the backend
  /// (Closing, Closed) and releases pages and ports. Remaining and later requests complete with
  /// operation_canceled. Always completes: backend and xenstore errors are logged. A second call
  /// returns when the first one does.
  ///
  /// Cancellation does not interrupt close(); the caller's next co_await throws operation_aborted.
  /// If the caller is already cancelled, close() throws operation_aborted without closing the
  /// device: call close() again, or let the destructor close the device.
  [[nodiscard]] asio::awaitable<void> close();

 private:
  class connection;
  explicit frontend(std::shared_ptr<connection> c) noexcept;
  std::shared_ptr<connection> connection_;
};

}  // namespace xenpv::blkfront
