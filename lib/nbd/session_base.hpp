// The part of a session that does not depend on its stream: determines the next request, the reason
// why the session ends, and whether the client makes progress.
//
// Base of session<Stream> and used on its thread. Does no I/O itself.
#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "async/signal.hpp"
#include "nbd/progress_timer.hpp"
#include "nbd/receive_buffer.hpp"
#include "nbd/transmission.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::nbd {

/// Maximum number of bytes per read for requests and small payloads.
inline constexpr std::size_t receive_buffer_size = std::size_t{128} << 10;
/// The same limit for large payloads. Payload bytes that are read together with the header must be
/// copied; the rest is received in place.
inline constexpr std::size_t short_receive_size = std::size_t{4} << 10;
inline constexpr std::size_t large_payload = std::size_t{32} << 10;
/// Approximate limit for the number of bytes that one batch of requests transfers. At this limit,
/// the batch is committed even if more requests are waiting in the socket.
inline constexpr std::uint64_t batch_bytes = std::uint64_t{256} << 10;
/// The same while other connections of the device need fast answers: the thread then also looks
/// after them.
inline constexpr std::uint64_t short_batch_bytes = std::uint64_t{32} << 10;

struct session_limits {
  dispatcher_limits requests{};
  shared_resources shared{};
  /// How long a client may take without a byte of progress while it has replies to receive or the
  /// rest of a request to send. Then the session hangs up. 0: no limit.
  std::chrono::nanoseconds progress{};
};

class session_base : public transmission {
 public:
  void drain() override;
  void abandon() noexcept override;
  void reshape(const export_info& info) override { export_ = info; }
  [[nodiscard]] bool disconnect_received() const noexcept override { return disconnect_received_; }
  [[nodiscard]] bool ended_by_server() const noexcept override { return ended_by_server_; }
  [[nodiscard]] const connection_statistics& statistics() const override {
    return dispatcher_.statistics();
  }
  [[nodiscard]] std::chrono::steady_clock::time_point last_received() const noexcept override {
    return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(last_received_ns_));
  }

 protected:
  struct incoming_request {
    request_header header;
    verdict checked;
  };

  session_base(blk::block_queue& queue, const export_info& exported, session_terms terms,
               std::function<void()> shut, const session_limits& limits);

  /// Starts to send the replies of the dispatcher.
  virtual void start_replies() = 0;
  /// The state of the replies and of the connection; the base fills in the rest.
  [[nodiscard]] virtual session_progress stream_progress() const = 0;

  /// Decodes and checks the next request without consuming it. Returns false if it is incomplete or
  /// if the session has ended, possibly because of this request.
  [[nodiscard]] bool next_request(incoming_request& next);
  void consume_header() noexcept { buffer_.consume(header_size()); }

  /// Ends the session once the requests in flight are complete. The first reason counts.
  void end(std::string reason);
  /// Ends the session and closes the connection.
  void hang_up(std::string reason);
  /// Call after replies were sent or, with `broken`, when the client no longer accepts replies.
  void replied(bool broken);

  void commit() {
    uncommitted_ = 0;
    dispatcher_.commit();
    if (dispatcher_.in_flight() > 0) progress_.start();
  }
  void add_to_batch(std::uint64_t bytes) noexcept { uncommitted_ += std::min(bytes, batch_bytes); }
  /// Whether to commit the batch before receiving more.
  [[nodiscard]] bool is_batch_full() const noexcept {
    return uncommitted_ >= short_batch_bytes &&
           (uncommitted_ >= batch_bytes || dispatcher_.has_light_neighbour());
  }
  /// Call around a read that waits for the rest of a request.
  void await_sender() {
    awaits_sender_ = true;
    progress_.start();
  }
  void received(std::size_t count) noexcept {
    awaits_sender_ = false;
    received_ += count;
    last_received_ns_ = device_scheduler::coarse_now();
  }

  asio::any_io_executor executor_;

 private:
  [[nodiscard]] std::size_t header_size() const noexcept {
    return terms_.extended ? extended_request_size : request_size;
  }
  [[nodiscard]] session_progress inspect() const;

  export_info export_;
  session_terms terms_;
  std::function<void()> shut_;
  /// Handlers that may outlive the session check this.
  std::shared_ptr<session_base*> alive_ = std::make_shared<session_base*>(this);

 protected:
  dispatcher dispatcher_;
  asio::cancellation_signal between_requests_;
  async::signal changed_;  ///< notified when replies were sent, memory is free, or the session ends
  progress_timer progress_;
  std::string reason_;   ///< why the session ends; empty: it continues
  bool is_cut_ = false;  ///< the connection was closed in both directions
  receive_buffer buffer_{receive_buffer_size};

 private:
  bool disconnect_received_ = false;
  std::uint64_t last_received_ns_ = device_scheduler::coarse_now();
  bool ended_by_server_ = false;
  bool awaits_sender_ = false;
  std::uint64_t received_ = 0;     ///< bytes that asynchronous reads returned
  std::uint64_t uncommitted_ = 0;  ///< bytes of requests begun since the last commit
};

}  // namespace xenpv::nbd
