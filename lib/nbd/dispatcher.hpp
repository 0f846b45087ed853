// What a client's requests mean for the device: splits them, finds memory for them, submits them
// and makes their replies. No sockets: bytes come from and go to the session.
//
// One per connection, on the thread of its queue. Bounded: a client can have so many requests and
// so much memory in flight, and no more is read from it until some are answered.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "nbd/operation.hpp"
#include "xenpv/base/histogram.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::nbd {

/// Where replies go. Called on the queue's thread; also from within begin(), for what needs no
/// device.
class reply_sink {
 public:
  virtual void reply_ready(reply_part& part) = 0;

 protected:
  ~reply_sink() = default;
};

struct dispatcher_limits {
  unsigned requests = 128;                   ///< in flight, replies not yet sent included
  std::size_t heap = std::size_t{64} << 20;  ///< bytes, for what granted pages are too few for
};

/// Counted since the connection began.
struct connection_statistics {
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;  ///< replies that are not a success
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t from_heap = 0;  ///< requests that found too few granted pages free
};

/// What the stream holds after some of a payload.
struct payload_state {
  bool wants_more = false;     ///< more of it, for payload_space()
  std::uint64_t unwanted = 0;  ///< bytes of it to be thrown away: there is no memory for them
};

class dispatcher {
 public:
  dispatcher(blk::block_queue& queue, const export_info& on, session_terms terms, reply_sink& sink,
             dispatcher_limits limits = {});
  /// Nothing is with the device any more.
  ~dispatcher();
  dispatcher(const dispatcher&) = delete;
  dispatcher& operator=(const dispatcher&) = delete;

  /// Whether the session has to stop reading requests until replies are out.
  [[nodiscard]] bool is_full() const noexcept {
    return in_flight_ >= limits_.requests || heap_used_ >= limits_.heap;
  }
  [[nodiscard]] unsigned in_flight() const noexcept { return in_flight_; }

  /// Starts a request that check_request() has judged. Not null: a WRITE whose payload comes next,
  /// to be put where payload_space() says.
  [[nodiscard]] operation* begin(const request_header& header, const verdict& judged);
  /// Where the next bytes of the payload belong, in order; not more than this is wanted now.
  void payload_space(const operation& op, std::vector<std::span<std::byte>>& out) const;
  /// That many bytes are there now. Unless more are wanted, the operation goes its own way, and the
  /// next request follows in the stream.
  [[nodiscard]] payload_state payload_received(operation& op, std::size_t count);
  /// The rest of the payload will not come: the connection broke.
  void abandon_payload(operation& op);

  /// Nobody waits for answers any more: what the device has is answered, but requests of many
  /// gigabytes do not go on.
  void abandon() noexcept { abandoned_ = true; }

  /// Ends the batch: what was begun reaches the device.
  void commit() { queue_.commit(); }

  /// Calls `use` for each stretch of the data behind the part's header, in order.
  template <class Function>
  static void for_each_data(const reply_part& part, Function use) {
    if (part.data == nullptr) return;
    const auto& carrier = *part.data;
    if (carrier.leased)
      carrier.leased->for_each_span(0, carrier.length, use);
    else
      use(std::span<std::byte>(carrier.heap.get(), static_cast<std::size_t>(carrier.length)));
  }
  /// The part was sent, or nobody wants it any more. In the order of reply_ready().
  void sent(reply_part& part) noexcept;

  [[nodiscard]] const connection_statistics& statistics() const noexcept { return statistics_; }

 private:
  [[nodiscard]] operation& take_operation(const request_header& header);
  [[nodiscard]] piece& take_piece(operation& op, blk::operation what, std::uint64_t offset,
                                  std::uint64_t length);
  void drop_memory(piece& p) noexcept;
  [[nodiscard]] bool give_memory(piece& p);
  void submit(piece& p);
  static void piece_done(blk::request& r);
  void answered(piece& p);
  void answered_chunk(piece& p);
  void chunk_sent(piece& p) noexcept;
  void begin_streams(operation& op);
  void stream(operation& op, piece& idle);
  void open_write_piece(operation& op);
  void conclude(operation& op);
  void finish(operation& op);
  void refuse(operation& op, wire::nbd_error error, std::string_view why);
  static void simple(operation& op, wire::nbd_error error);
  void recycle(operation& op) noexcept;

  blk::block_queue& queue_;
  export_info export_;
  session_terms terms_;
  reply_sink& sink_;
  dispatcher_limits limits_;
  unsigned in_flight_ = 0;
  std::size_t heap_used_ = 0;
  /// Bytes that a large request moves with one request to the device.
  std::uint64_t piece_size_;
  /// Memory of pieces for the next ones: new one would be mapped and zeroed page by page.
  std::vector<std::unique_ptr<std::byte[]>> spare_;
  bool abandoned_ = false;
  std::vector<std::unique_ptr<operation>> operations_;
  std::vector<std::unique_ptr<piece>> pieces_;
  operation* free_operations_ = nullptr;
  piece* free_pieces_ = nullptr;
  std::string_view why_;  ///< of the refusal under way
  connection_statistics statistics_;
};

}  // namespace xenpv::nbd
