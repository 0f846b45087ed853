// Converts client requests to device requests: splits them, allocates their buffers, submits them
// and queues the replies. Independent of sockets: the session transfers data and takes the replies.
//
// One per connection, on the thread of its queue. Limits the requests and the memory that a client
// can have in flight; at the limit, the session stops reading requests until some have completed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "nbd/client_request.hpp"
#include "xenpv/base/histogram.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::nbd {

struct dispatcher_limits {
  unsigned requests = 128;                   ///< in flight, or with unsent replies
  std::size_t heap = std::size_t{64} << 20;  ///< bytes; used when granted pages are scarce
};

/// Counters since the start of the connection.
struct connection_statistics {
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;  ///< error replies
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t from_heap = 0;  ///< device requests that used heap memory
};

/// The state of a payload after some of its bytes were received.
struct payload_state {
  bool wants_more = false;       ///< more payload must be received into payload_space()
  std::uint64_t to_discard = 0;  ///< payload bytes to discard because no memory is available
};

class dispatcher {
 public:
  /// `replies_ready` is called when a reply is added to an empty queue, possibly from within
  /// begin() (for requests that do not need the device).
  dispatcher(blk::block_queue& queue, session_terms terms, std::function<void()> replies_ready,
             dispatcher_limits limits = {});
  /// All device requests must have completed.
  ~dispatcher();
  dispatcher(const dispatcher&) = delete;
  dispatcher& operator=(const dispatcher&) = delete;

  /// Whether the session must stop reading requests until replies are sent.
  [[nodiscard]] bool is_full() const noexcept {
    return in_flight_ >= limits_.requests || heap_used_ >= limits_.heap;
  }
  [[nodiscard]] unsigned in_flight() const noexcept { return in_flight_; }

  /// Begins a request; `checked` is the result of check_request(). For a WRITE whose payload comes
  /// next, returns the request: receive the payload into payload_space(). Otherwise returns null.
  [[nodiscard]] client_request* begin(const request_header& header, const verdict& checked);
  /// Appends the buffers for the next payload bytes to `out`, in order. At this point, only as many
  /// bytes as fit into these buffers can be received.
  void payload_space(const client_request& request, std::vector<std::span<std::byte>>& out) const;
  /// Call after `count` bytes of the payload were received. When the payload is complete, the
  /// dispatcher processes the request, and the next request follows in the stream.
  [[nodiscard]] payload_state payload_received(client_request& request, std::size_t count);
  /// Call if the rest of the payload cannot arrive because the connection failed.
  void abandon_payload(client_request& request);

  /// Call when the client no longer accepts replies: device requests in flight complete, but large
  /// client requests are not continued.
  void abandon() noexcept { abandoned_ = true; }

  /// Ends the batch: passes all requests begun so far to the device.
  void commit() { queue_.commit(); }

  [[nodiscard]] bool has_replies() const noexcept { return first_reply_ != nullptr; }
  /// Takes the oldest queued part of a reply; null if there is none. Call sent() when the part has
  /// been sent or discarded.
  [[nodiscard]] reply_part* take_reply() noexcept;
  /// Calls `use` for each data range that follows the part's header, in order.
  template <class Function>
  static void for_each_data(const reply_part& part, Function use) {
    if (part.data == nullptr) return;
    const auto& carrier = *part.data;
    if (carrier.leased)
      carrier.leased->for_each_span(0, carrier.length, use);
    else
      use(std::span<std::byte>(carrier.heap.get(), static_cast<std::size_t>(carrier.length)));
  }
  /// Call in the order of take_reply().
  void sent(reply_part& part) noexcept;

  [[nodiscard]] const connection_statistics& statistics() const noexcept { return statistics_; }

 private:
  [[nodiscard]] client_request& take_client_request(const request_header& header);
  [[nodiscard]] device_request& take_device_request(client_request& parent, blk::operation op,
                                                    std::uint64_t offset, std::uint64_t length);
  void drop_memory(device_request& child) noexcept;
  [[nodiscard]] bool give_memory(device_request& child);
  void submit(device_request& child);
  static void device_request_done(blk::request& completed);
  void answered(device_request& child);
  void answered_chunk(device_request& child);
  void chunk_sent(device_request& child) noexcept;
  void begin_streams(client_request& request);
  void stream(client_request& request, device_request& idle);
  void open_write(client_request& request);
  void conclude(client_request& request);
  void finish(client_request& request);
  void refuse(client_request& request, wire::nbd_error error, std::string_view reason);
  static void encode_simple(client_request& request, wire::nbd_error error);
  void queue_reply(reply_part& part);
  void recycle(client_request& request) noexcept;

  blk::block_queue& queue_;
  session_terms terms_;
  std::function<void()> replies_ready_;
  dispatcher_limits limits_;
  unsigned in_flight_ = 0;
  std::size_t heap_used_ = 0;
  /// Size, in bytes, of the device requests for a large client request.
  std::uint64_t device_request_size_;
  /// Buffers kept for reuse because the kernel would map and zero new memory page by page.
  std::vector<std::unique_ptr<std::byte[]>> spare_;
  bool abandoned_ = false;
  std::vector<std::unique_ptr<client_request>> client_requests_;
  std::vector<std::unique_ptr<device_request>> device_requests_;
  client_request* free_client_requests_ = nullptr;
  device_request* free_device_requests_ = nullptr;
  reply_part* first_reply_ = nullptr;  ///< queued replies, oldest first
  reply_part* last_reply_ = nullptr;
  std::string_view refusal_reason_;  ///< used while refuse() runs
  connection_statistics statistics_;
};

}  // namespace xenpv::nbd
