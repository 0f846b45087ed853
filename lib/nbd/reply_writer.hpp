// Sends a dispatcher's replies to the client: one gathered write sends all queued replies, with
// headers and data directly from their buffers. The write does not pass through the event loop
// unless the client's socket is full.
//
// Part of a session and used on the session's thread. The session handles clients that no longer
// accept replies.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <cstdint>
#include <functional>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include "async/event_batch.hpp"
#include "nbd/dispatcher.hpp"

namespace xenpv::nbd {

/// A stream that can be written without waiting.
template <class Stream>
concept writable_at_once = requires(Stream& s, std::span<asio::const_buffer> buffers,
                                    boost::system::error_code& code) {
  s.write_some(buffers, code);
};

template <class Stream>
class reply_writer {
 public:
  /// `changed` is called after each write. Its argument is true once, when the client no longer
  /// accepts replies; after that, replies are taken and discarded.
  reply_writer(Stream& stream, asio::any_io_executor executor, dispatcher& source,
               std::function<void(bool broken)> changed)
      : stream_(stream),
        executor_(std::move(executor)),
        dispatcher_(source),
        changed_(std::move(changed)) {}

  [[nodiscard]] bool is_idle() const noexcept { return !is_busy_; }
  /// Whether a write waits until the client reads.
  [[nodiscard]] bool awaits_client() const noexcept { return !unsent_.empty(); }
  /// The number of bytes that the client's socket has accepted.
  [[nodiscard]] std::uint64_t bytes_sent() const noexcept { return bytes_sent_; }

  /// Call when the dispatcher has replies. The device completes several requests at a time: the
  /// write begins at the end of the event batch, so that it sends all their replies.
  void start() {
    if (std::exchange(is_busy_, true)) return;
    if (!async::event_batch::add(at_end_of_batch_)) post_write();
  }

 private:
  void post_write() {
    asio::post(executor_, [this] { write(); });
  }

  void write() {
    try {
      gather();
    } catch (const std::bad_alloc&) {
      return written(asio::error::no_memory);
    }
    if (broken_) return written(asio::error::broken_pipe);
    unsent_ = gathered_;
    write_at_once();
  }

  /// Takes replies for the next write. Throws std::bad_alloc.
  void gather() {
    gathered_.clear();
    unsent_bytes_ = 0;
    sending_ = nullptr;
    auto** tail = &sending_;
    while (gathered_.size() < most_vectors) {
      auto* const part = dispatcher_.take_reply();
      if (part == nullptr) break;
      *tail = part;
      tail = &part->next;
      gathered_.emplace_back(part->header.data(), part->header.size());
      unsent_bytes_ += part->header.size();
      dispatcher::for_each_data(*part, [this](std::span<std::byte> stretch) { add_data(stretch); });
    }
  }

  /// Returns the replies to send before other connections have their turn.
  [[nodiscard]] std::span<asio::const_buffer> next_stretch() const {
    return dispatcher_.has_light_neighbour() ? first_bytes(short_write_size) : unsent_;
  }

  void write_at_once() {
    if constexpr (writable_at_once<Stream>) {
      const auto next = next_stretch();
      const auto rest = unsent_.size() - next.size();
      boost::system::error_code code;
      const auto count = stream_.write_some(next, code);
      if (code && code != asio::error::would_block) return written(code);
      skip_sent(count);
      if (unsent_.empty()) return written({});
      if (unsent_.size() == rest) return asio::post(executor_, [this] { write_at_once(); });
    }
    // The socket is full, or a stream of this type always has to wait.
    write_some();
  }

  /// Does not use asio::async_write, which writes at most 16 vectors and 64 KiB at a time: that
  /// would take several iterations of the event loop and several system calls instead of one each.
  void write_some() {
    const auto sent = [this](boost::system::error_code code, std::size_t count) {
      skip_sent(count);
      if (code || unsent_.empty()) return written(code);
      write_some();
    };
    try {
      stream_.async_write_some(next_stretch(), sent);
    } catch (const std::bad_alloc&) {
      written(asio::error::no_memory);
    }
  }

  /// Returns the first vectors of `unsent_` with at least `size` bytes, if there are so many.
  [[nodiscard]] std::span<asio::const_buffer> first_bytes(std::size_t size) const {
    std::size_t count = 0;
    for (std::size_t bytes = 0; count < unsent_.size() && bytes < size; ++count)
      bytes += unsent_[count].size();
    return unsent_.first(count);
  }

  void skip_sent(std::size_t count) {
    bytes_sent_ += count;
    unsent_bytes_ -= count;
    // Usually, the socket accepts everything.
    if (unsent_bytes_ == 0) {
      unsent_ = {};
      return;
    }
    while (!unsent_.empty() && count >= unsent_.front().size()) {
      count -= unsent_.front().size();
      unsent_ = unsent_.subspan(1);
    }
    if (count > 0) unsent_.front() += count;
  }

  void add_data(std::span<std::byte> stretch) {
    unsent_bytes_ += stretch.size();
    auto& last = gathered_.back();
    const auto* const end = static_cast<const std::byte*>(last.data()) + last.size();
    if (end == stretch.data())
      last = asio::const_buffer(last.data(), last.size() + stretch.size());
    else
      gathered_.emplace_back(stretch.data(), stretch.size());
  }

  void written(boost::system::error_code code) {
    unsent_ = {};
    if (code) dispatcher_.abandon();
    while (sending_ != nullptr)
      dispatcher_.sent(*std::exchange(sending_, sending_->next));
    const bool breaks = code && !broken_;
    broken_ = broken_ || breaks;
    // Post, so that a long series of replies neither recurses nor delays other connections.
    is_busy_ = dispatcher_.has_replies();
    if (is_busy_) post_write();
    changed_(breaks);
  }

  /// The maximum number of vectors that Asio passes to the kernel in one call. Later replies wait
  /// until these are sent and their memory is free again.
  static constexpr std::size_t most_vectors = 64;
  /// While other connections need fast answers, longer writes would delay them.
  static constexpr std::size_t short_write_size = std::size_t{32} << 10;

  Stream& stream_;
  asio::any_io_executor executor_;
  dispatcher& dispatcher_;
  std::function<void(bool)> changed_;
  async::batch_task at_end_of_batch_{[this] { write(); }};
  reply_part* sending_ = nullptr;
  std::vector<asio::const_buffer> gathered_;
  std::span<asio::const_buffer> unsent_;  ///< the unsent part of gathered_
  std::uint64_t unsent_bytes_ = 0;        ///< in unsent_
  std::uint64_t bytes_sent_ = 0;
  bool is_busy_ = false;  ///< a write is planned or in progress
  bool broken_ = false;
};

}  // namespace xenpv::nbd
