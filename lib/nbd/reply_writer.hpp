// Sends a dispatcher's replies to the client: one gathered write sends all queued replies, with
// headers and data directly from their buffers.
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

#include "nbd/dispatcher.hpp"

namespace xenpv::nbd {

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

  [[nodiscard]] bool is_idle() const noexcept { return !writing_; }
  /// Whether a write waits until the client reads.
  [[nodiscard]] bool awaits_client() const noexcept { return !unsent_.empty(); }
  /// The number of bytes that the client's socket has accepted.
  [[nodiscard]] std::uint64_t bytes_sent() const noexcept { return bytes_sent_; }

  /// Call when the dispatcher has replies.
  void start() {
    if (std::exchange(writing_, true)) return;
    // Deferred because the device completes several requests at a time: one write then sends all
    // their replies.
    asio::post(executor_, [this] { write(); });
  }

 private:
  void write() {
    try {
      gather();
    } catch (const std::bad_alloc&) {
      return written(asio::error::no_memory);
    }
    if (broken_) return written(asio::error::broken_pipe);
    unsent_ = gathered_;
    write_some();
  }

  /// Takes replies for the next write. Throws std::bad_alloc.
  void gather() {
    gathered_.clear();
    sending_ = nullptr;
    auto** tail = &sending_;
    while (gathered_.size() < most_vectors) {
      auto* const part = dispatcher_.take_reply();
      if (part == nullptr) break;
      *tail = part;
      tail = &part->next;
      gathered_.emplace_back(part->header.data(), part->header.size());
      dispatcher::for_each_data(*part, [this](std::span<std::byte> stretch) { add_data(stretch); });
    }
  }

  /// Does not use asio::async_write, which writes at most 16 vectors and 64 KiB at a time: that
  /// would take several iterations of the event loop and several system calls instead of one each.
  void write_some() {
    const auto next = dispatcher_.has_light_neighbour() ? first_bytes(short_write_size) : unsent_;
    const auto sent = [this](boost::system::error_code code, std::size_t count) {
      bytes_sent_ += count;
      skip_sent(count);
      if (code || unsent_.empty()) return written(code);
      write_some();
    };
    try {
      stream_.async_write_some(next, sent);
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
    while (!unsent_.empty() && count >= unsent_.front().size()) {
      count -= unsent_.front().size();
      unsent_ = unsent_.subspan(1);
    }
    if (count > 0) unsent_.front() += count;
  }

  void add_data(std::span<std::byte> stretch) {
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
    writing_ = false;
    // Post, so that a long series of discarded replies does not recurse.
    if (dispatcher_.has_replies()) start();
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
  reply_part* sending_ = nullptr;
  std::vector<asio::const_buffer> gathered_;
  std::span<asio::const_buffer> unsent_;  ///< the unsent part of gathered_
  std::uint64_t bytes_sent_ = 0;
  bool writing_ = false;
  bool broken_ = false;
};

}  // namespace xenpv::nbd
