// A PV disk from user space: this process is the block frontend of a device that the toolstack
// attached to the guest. Opens, serves and closes one device over a runtime's CPUs.
//
// The frontend lives on the runtime's control thread; its queues live on the CPU threads, one each.
// It does not take the device from the kernel's driver.
//
// A backend that closes the connection, restarts or vanishes, and the guest's own save, restore and
// migration, are a pause: unanswered and new requests wait (options::recovery_timeout) and are sent
// to the next backend. A request is sent again only after those submitted before it to the same
// bytes were answered; overlapping writes that were in flight together may be applied in either
// order, as block devices allow. The requests wait in the callers' memory: to bound it, limit the
// number of requests in flight. Writes that were answered but not flushed are in the lost backend's
// cache. After an orderly close and after a suspend of the guest they are taken to be safe; after
// any other loss the next flush fails once (options::trust_backend_cache).
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/async/runtime.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/blk/block_device.hpp"
#include "xenpv/blkfront/options.hpp"
#include "xenpv/blkfront/statistics.hpp"

namespace xenpv::blkfront {

enum class device_state {
  connected,
  recovering,  ///< its backend was lost; requests wait for the next one
  unplugged,   ///< the toolstack took the disk away
  failed,      ///< see frontend::failure_reason()
  closed,      ///< by close()
};
[[nodiscard]] std::string_view to_string(device_state state) noexcept;

/// What a flush or FUA write of a client becomes.
enum class flush_support {
  none,     ///< refused: the backend has never offered any, or options::strict_flush
  cache,    ///< BLKIF_OP_FLUSH_DISKCACHE
  barrier,  ///< an empty BLKIF_OP_WRITE_BARRIER, on a device with one queue
  /// It succeeds without reaching the backend, which offered flush once and then refused one or
  /// came back without: nothing says when a write is durable.
  ignored,
};
[[nodiscard]] std::string_view to_string(flush_support support) noexcept;

/// What a connection turned out to be, as of the last connect.
struct connection_facts {
  std::string device;   ///< "device/vbd/51728"
  std::string backend;  ///< the backend's directory
  domid backend_domain{};
  unsigned queues = 1;
  unsigned ring_page_order = 0;
  unsigned segments = 11;   ///< of the largest request
  bool persistent = false;  ///< both ends keep grants
  bool trusted = true;      ///< false: pages are scrubbed after use
  /// Changes to `ignored` also while connected, when the backend refuses what it offers.
  flush_support flush = flush_support::none;
  std::size_t pages = 0;  ///< granted, rings included
};

class frontend final : public blk::block_device {
 public:
  /// Connects to `device`: a path as in xenstore, relative or not ("device/vbd/51728"), or its
  /// virtual device number. Takes over from a predecessor that died. For the control thread.
  ///
  /// Throws `failure`: timed_out with the state both ends are in and what that means; not_available
  /// for a device that is not there or that the toolstack's script could not prepare; what xenstore
  /// and the grant device throw, with the page limit by name; protocol_violation for a backend
  /// whose nodes make no sense.
  ///
  /// Cancellation: terminal, partial, total. Throws operation_aborted once the device is closed
  /// again, for which it waits as close() does.
  [[nodiscard]] static async::asio::awaitable<std::unique_ptr<frontend>> open(
      async::runtime& runtime, std::string device, options options = {});

  /// The same for a disk that was connected before, perhaps by another process: `identity` is what
  /// identity() said then. Another disk, as far as its size, its access and its backend tell, is
  /// refused with errc::wrong_disk.
  [[nodiscard]] static async::asio::awaitable<std::unique_ptr<frontend>> open_again(
      async::runtime& runtime, std::string device, options options, std::string identity);

  /// close() should have run. Otherwise it is begun here, with a warning, and the control thread
  /// carries it out as far as the runtime lets it: a runtime that is ending (an exception out of
  /// main) waits for nobody's closing handshake. The custodian then closes the device; without one
  /// the backend stays Connected until the next user of the disk resets it.
  ~frontend() override;

  [[nodiscard]] std::size_t queue_count() const noexcept override;
  [[nodiscard]] blk::block_queue& queue(std::size_t index) noexcept override;

  [[nodiscard]] const connection_facts& facts() const noexcept;
  /// As of the last change that reached the control thread; a queue knows better.
  [[nodiscard]] const blk::geometry& shape() const noexcept;
  [[nodiscard]] device_state state() const noexcept;
  /// Set once the device has come to its end: unplugged or failed.
  [[nodiscard]] const std::optional<error>& failure_reason() const noexcept;
  /// Called on the control thread after shape(), state() or facts().flush has changed. What it
  /// throws is logged.
  void on_change(std::function<void()> callback);

  /// From any executor; run on queue 0. Throw `failure`.
  [[nodiscard]] async::asio::awaitable<void> read(std::uint64_t offset, std::span<std::byte> into);
  [[nodiscard]] async::asio::awaitable<void> write(std::uint64_t offset,
                                                   std::span<const std::byte> from,
                                                   bool fua = false);
  [[nodiscard]] async::asio::awaitable<void> flush();
  [[nodiscard]] async::asio::awaitable<void> discard(std::uint64_t offset, std::uint64_t length);

  /// A line by which open_again() recognises this disk. For the control thread.
  [[nodiscard]] async::asio::awaitable<std::string> identity();

  /// One snapshot for each queue.
  [[nodiscard]] async::asio::awaitable<std::vector<queue_statistics>> statistics();
  /// For the control thread.
  [[nodiscard]] const recovery_statistics& recovery() const noexcept;

  /// Waits for requests in flight (bounded), then goes through Closing and Closed with the backend
  /// and gives pages and ports back. Requests that are left are answered with operation_canceled,
  /// as are later ones. Always completes: what the backend or xenstore does is logged. A second
  /// call returns when the first one has.
  ///
  /// Cancellation: does not interrupt it; the caller sees operation_aborted at its next co_await. A
  /// caller that is cancelled already gets operation_aborted and begins nothing: call again, or
  /// leave it to the destructor.
  [[nodiscard]] async::asio::awaitable<void> close();

 private:
  class connection;
  explicit frontend(std::shared_ptr<connection> c) noexcept;
  std::shared_ptr<connection> connection_;
};

}  // namespace xenpv::blkfront
