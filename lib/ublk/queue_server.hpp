// The state machine of one ublk queue: tracks the owner of each tag, from the kernel's request to
// the result of the block device, in batches. Serves a queue of any block device.
//
// Belongs to the thread of the block queue; create it with make_shared. Data is copied once, by the
// kernel, between the request and pages that are leased from the device for as long as the request
// takes. A request waits while too few pages are free; a request that can never get pages is copied
// through private memory. attachment manages the device itself.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "ublk/kernel.hpp"
#include "ublk/translation.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::ublk {

/// The owner of a tag.
enum class tag_owner : std::uint8_t {
  nobody,   ///< not fetched yet
  kernel,   ///< the kernel may fill in a request
  held,     ///< a request that is not served, because the server is leaving
  waiting,  ///< a request that waits for pages
  device,   ///< a request that the block device processes
  ended,    ///< the kernel has aborted or refused the tag
};

struct queue_statistics {
  std::uint64_t requests = 0;  ///< that were passed to the device or failed
  std::uint64_t copied = 0;    ///< of these, with data in private memory
  std::uint64_t waited = 0;    ///< of these, that had to wait for pages
  std::size_t in_service = 0;  ///< tags with a request that has not been completed
};

class queue_server final : public queue_listener,
                           public std::enable_shared_from_this<queue_server> {
 public:
  /// `changed` is called on the queue's thread when the kernel has ended the last tag or refused a
  /// command, and, after leave(), when no request is in service any more. It may be called again.
  queue_server(blk::block_queue& device, std::unique_ptr<kernel_queue> kernel, std::uint16_t depth,
               std::uint32_t largest, std::function<void(const queue_server&)> changed);
  ~queue_server() override;
  queue_server(const queue_server&) = delete;
  queue_server& operator=(const queue_server&) = delete;

  /// Gives all tags to the kernel.
  void start();
  /// The kernel has taken no tag, or has aborted all of them.
  [[nodiscard]] bool ended() const noexcept { return live_tags_ == 0; }
  /// The first errno with which the kernel refused a command; 0: none.
  [[nodiscard]] int error() const noexcept { return error_; }
  [[nodiscard]] const queue_statistics& statistics() const noexcept { return statistics_; }
  [[nodiscard]] tag_owner owner(std::uint16_t tag) const noexcept { return slots_[tag].owner; }

  /// Stops serving new requests, so that the kernel passes them to the next server.
  void leave();
  /// Completes all requests with EIO, including future ones. Requests in flight to the device
  /// continue without an effect on the kernel.
  void fail_all();
  /// Closes the kernel's queue. The object stays alive until the device has completed its requests.
  void close();

  // queue_listener
  void completed(std::uint16_t tag, std::int32_t result) override;
  void batch_completed() override;

 private:
  struct slot : blk::request {
    queue_server* server = nullptr;
    block_operation operation;
    blk::lease leased;
    std::unique_ptr<std::byte[]> copy;  ///< private memory, if it has no pages
    std::uint16_t tag = 0;
    tag_owner owner = tag_owner::nobody;
    bool is_busy = false;  ///< the device processes the request, even if the kernel has a result
  };

  static void request_done(blk::request& r);
  void serve(slot& s);
  enum class memory_search : std::uint8_t { found, must_wait, failed };
  [[nodiscard]] memory_search find_memory(slot& s);
  void send(slot& s);
  void device_answered(slot& s);
  void complete(slot& s, std::int32_t result);
  void end_tag(slot& s);
  void release(slot& s);
  void serve_waiting();
  void wait_for_pages();
  void stop_waiting();
  [[nodiscard]] std::span<const iovec> memory_of(slot& s);
  void schedule_turn();
  void turn();

  blk::block_queue& device_;
  std::unique_ptr<kernel_queue> kernel_;
  std::uint32_t largest_;
  std::function<void(const queue_server&)> changed_;
  std::vector<slot> slots_;
  std::vector<std::uint16_t> waiting_;  ///< tags, oldest first
  std::vector<iovec> pieces_;
  struct waiter : blk::page_waiter {
    queue_server* server = nullptr;
  } waiter_;
  std::shared_ptr<blk::page_pool> waited_pool_;
  std::shared_ptr<queue_server> self_;  ///< set while the device has requests
  std::size_t busy_ = 0;                ///< requests that the device processes
  std::size_t live_tags_ = 0;
  queue_statistics statistics_;
  int error_ = 0;
  bool leaving_ = false;
  bool failing_ = false;
  bool closed_ = false;
  bool scheduled_ = false;
  bool has_commands_ = false;  ///< prepared, but not submitted
  bool in_batch_ = false;
};

}  // namespace xenpv::ublk
