// Converts client requests to device requests: splits them, allocates their buffers, submits them
// and queues the replies. Independent of sockets: the session transfers data and takes the replies.
//
// One per connection, on the thread of its queue. Limits the requests and the memory that a client
// can have in flight; at a limit, the session stops reading requests until some have completed. The
// connection's large requests advance in turn, by a bounded number of device requests at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "nbd/client_request.hpp"
#include "nbd/device_scheduler.hpp"
#include "nbd/dispatcher_sizes.hpp"
#include "nbd/memory_budget.hpp"
#include "xenpv/base/histogram.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::nbd {

struct dispatcher_limits {
  unsigned requests = 128;  ///< in flight, or with unsent replies
  /// Heap memory, in bytes; used when granted pages are scarce. A single larger request is allowed.
  std::uint64_t heap = std::uint64_t{64} << 20;
};

/// Resources shared by the connections of a server. Both must outlive the dispatcher.
struct shared_resources {
  memory_budget* memory = nullptr;        ///< null: no limit besides dispatcher_limits
  device_scheduler* scheduler = nullptr;  ///< of the queue; null: the queue has no other users
};

/// Counters since the start of the connection.
struct connection_statistics {
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;  ///< error replies
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t from_heap = 0;  ///< device requests that used heap memory
};

/// How to handle the next bytes of a payload.
enum class payload_step : std::uint8_t {
  receive,  ///< receive bytes into payload_space()
  wait,     ///< no memory is available: ask again after `resumed` was called
  discard,  ///< memory cannot be allocated: discard payload_left() bytes
  done,     ///< the payload is complete; the next request follows in the stream
};

class dispatcher {
 public:
  /// `replies_ready` is called when a reply is added to an empty queue, possibly from within
  /// begin() (for requests that do not need the device). `resumed` is called when a prepare() or
  /// next_payload() that had to wait may succeed. `granted` is passed to memory_account: it is
  /// called on any thread and must cause a call to memory_granted() on this one. `first` is the
  /// first byte of the export on the device.
  dispatcher(blk::block_queue& queue, session_terms terms, std::function<void()> replies_ready,
             std::function<void()> resumed, std::function<void()> granted,
             dispatcher_limits limits = {}, shared_resources shared = {}, std::uint64_t first = 0);
  /// All device requests must have completed.
  ~dispatcher();
  dispatcher(const dispatcher&) = delete;
  dispatcher& operator=(const dispatcher&) = delete;

  [[nodiscard]] unsigned in_flight() const noexcept { return in_flight_; }
  /// Heap memory in use, including buffers kept for reuse, in bytes.
  [[nodiscard]] std::uint64_t heap_used() const noexcept { return account_.used(); }
  /// Whether other connections wait for memory, while this one uses some.
  [[nodiscard]] bool holds_up_others() const noexcept {
    return account_.used() > 0 && account_.is_scarce();
  }
  /// Whether other connections of the device need fast answers, so that this one should do its work
  /// in small steps.
  [[nodiscard]] bool has_light_neighbour() const noexcept {
    return scheduler_.has_light_neighbour(flow_);
  }

  /// Obtains the memory that begin() needs for the request: call before begin(), until it returns
  /// true. While it returns false, the session must not read further requests; `resumed` announces
  /// that a repeated call may succeed. Throws std::bad_alloc; nothing has begun then.
  [[nodiscard]] bool prepare(const request_header& header, const verdict& checked);
  /// Whether a call to prepare() or next_payload() that had to wait has not been resumed yet.
  /// Check this after commit(), within which requests may complete.
  [[nodiscard]] bool is_waiting() const noexcept { return is_waiting_; }
  /// Returns the memory that an unfinished prepare() has obtained. Call if begin() will not follow.
  void cancel_prepare() noexcept;
  /// Begins a request; `checked` is the result of check_request(). For a WRITE whose payload comes
  /// next, returns the request: see next_payload(). Otherwise returns null.
  [[nodiscard]] client_request* begin(const request_header& header, const verdict& checked);

  /// Obtains the memory for the next payload bytes.
  [[nodiscard]] payload_step next_payload(client_request& request);
  /// Appends the buffers for the next payload bytes to `out`, in order. At this point, only as many
  /// bytes as fit into these buffers can be received.
  void payload_space(const client_request& request, std::vector<std::span<std::byte>>& out) const;
  /// Call after `count` bytes of the payload were received. When the payload is complete, the
  /// dispatcher processes the request: do not use `request` after payload_step::done.
  [[nodiscard]] payload_step payload_received(client_request& request, std::size_t count);
  /// The bytes of the payload that no buffer was allocated for.
  [[nodiscard]] static std::uint64_t payload_left(const client_request& request) noexcept {
    return request.left;
  }
  /// Call after payload_step::discard, with payload_left() read before: the request fails.
  void discard_payload(client_request& request);
  /// Call if the rest of the payload cannot arrive because the connection failed.
  void abandon_payload(client_request& request);

  /// Call when the client no longer accepts replies: device requests in flight complete, but large
  /// client requests are not continued.
  void abandon() noexcept { abandoned_ = true; }
  /// See the constructor.
  void memory_granted();
  /// Releases the buffers kept for reuse. Call when the connection is idle.
  void release_spare() noexcept;

  /// Ends the batch: passes all requests begun so far to the device.
  void commit() { queue_.commit(); }

  [[nodiscard]] bool has_replies() const noexcept { return first_reply_ != nullptr; }
  /// Takes the oldest queued part of a reply; null if there is none. Call sent() when the part has
  /// been sent or discarded.
  [[nodiscard]] reply_part* take_reply() noexcept {
    auto* const part = first_reply_;
    if (part != nullptr) first_reply_ = std::exchange(part->next, nullptr);
    return part;
  }
  /// Calls `use` for each data range that follows the part's header, in order.
  template <class Function>
  static void for_each_data(const reply_part& part, Function use) {
    for (auto* carrier = part.data; carrier != nullptr; carrier = carrier->next) {
      if (carrier->leased)
        carrier->leased.for_each_span(0, carrier->length, use);
      else
        use(std::span<std::byte>(carrier->heap.get(), static_cast<std::size_t>(carrier->length)));
    }
  }
  /// Call in the order of take_reply().
  void sent(reply_part& part) noexcept;

  [[nodiscard]] const connection_statistics& statistics() const noexcept { return statistics_; }

 private:
  enum class memory_result : std::uint8_t { ok, unavailable, failed };

  void reserve_requests();
  void add_device_request();
  [[nodiscard]] client_request& take_client_request(const request_header& header) noexcept;
  /// There must be a free device request.
  [[nodiscard]] device_request& take_device_request() noexcept {
    auto& child = *std::exchange(free_device_requests_, free_device_requests_->next);
    child.next = nullptr;
    child.fua = false;
    child.memory = nullptr;
    child.pages = nullptr;
    return child;
  }
  [[nodiscard]] device_request* try_take_device_request() noexcept;
  void recycle(device_request& child) noexcept {
    drop_memory(child);
    child.next = std::exchange(free_device_requests_, &child);
  }
  void recycle(client_request& request) noexcept;
  void retire(device_request& child) noexcept;
  void drop_retired(unsigned most) noexcept;

  /// The largest device request that should be submitted now, in bytes.
  [[nodiscard]] std::uint64_t piece_size() const noexcept {
    return has_light_neighbour() ? std::min(short_device_request, device_request_size_)
                                 : device_request_size_;
  }
  [[nodiscard]] std::uint64_t heap_size_for(std::uint64_t length) const noexcept;
  [[nodiscard]] std::uint64_t heap_size_in_pieces(std::uint64_t length) const noexcept;
  [[nodiscard]] bool take_heap(std::uint64_t bytes, bool may_wait);
  void give_back_heap(std::uint64_t bytes) noexcept;
  [[nodiscard]] bool try_give_pages(device_request& child) noexcept;
  [[nodiscard]] memory_result give_memory(device_request& child, std::uint64_t& reserved,
                                          bool may_wait);
  [[nodiscard]] memory_result give_heap(device_request& child, std::uint64_t& reserved,
                                        bool may_wait);
  void drop_memory(device_request& child) noexcept {
    child.memory = nullptr;
    child.pages = nullptr;
    child.leased.reset();
    if (!child.heap.empty()) drop_heap(child);
  }
  void drop_heap(device_request& child) noexcept;
  void resume() noexcept {
    if (is_waiting_) {
      is_waiting_ = false;
      resumed_();
    }
  }

  void submit(client_request& request, device_request& child);
  static void device_request_done(blk::request& completed);
  void finish_read(client_request& request);
  void answered(device_request& child);
  void answered_chunk(device_request& child);
  void chunk_sent(device_request& child) noexcept;

  [[nodiscard]] bool prepare_whole(blk::operation op, std::uint64_t offset, std::uint64_t length);
  [[nodiscard]] bool prepare_pieces(std::uint64_t length);
  void begin_unprepared(client_request& request, const verdict& checked);
  void begin_pieces(client_request& request);
  void list(client_request& request) noexcept;
  void submit_pieces();
  [[nodiscard]] bool submit_piece(client_request& request);
  void open_write(client_request& request, device_request& child);
  void piece_ended(client_request& request);
  void conclude_if_complete(client_request& request);
  void conclude(client_request& request);
  void finish(client_request& request);
  void refuse(client_request& request, wire::nbd_error error, std::string_view reason);
  static void encode_simple(client_request& request, wire::nbd_error error);
  static void encode_extended(client_request& request, std::string_view reason);
  [[nodiscard]] std::span<const std::byte> encode_chunk(device_request& child, bool is_last) const;
  void queue_reply(reply_part& part);

  blk::block_queue& queue_;
  session_terms terms_;
  std::function<void()> replies_ready_;
  std::function<void()> resumed_;
  dispatcher_limits limits_;
  std::uint64_t first_;  ///< of the export on the device, in bytes
  std::unique_ptr<memory_budget> own_memory_;
  std::unique_ptr<activity_table> own_activity_;
  std::unique_ptr<device_scheduler> own_scheduler_;
  device_scheduler& scheduler_;
  device_scheduler::flow flow_;
  memory_account account_;
  unsigned in_flight_ = 0;
  /// Size, in bytes, of the device requests for a large client request; see also piece_size().
  std::uint64_t device_request_size_;
  /// Buffers kept for reuse because the kernel would map and zero new memory page by page.
  std::vector<data_buffer> spare_;
  bool abandoned_ = false;
  /// Their heap memory is freed gradually: freeing the memory of a 64 MiB READ takes milliseconds,
  /// during which the other connections of this thread would wait.
  device_request* retired_ = nullptr;
  bool is_waiting_ = false;             ///< prepare() or next_payload() has to wait
  device_request* prepared_ = nullptr;  ///< by prepare(), for the next begin()
  bool prepare_failed_ = false;         ///< the memory for the next begin() cannot be allocated
  std::uint64_t prepared_heap_ = 0;     ///< taken by prepare() for the next begin(), in bytes
  unsigned pieces_ = 0;                 ///< device requests of client requests in pieces
  unsigned written_pieces_ = 0;         ///< of WRITEs, at the device
  client_request* first_listed_ = nullptr;
  client_request* last_listed_ = nullptr;
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
