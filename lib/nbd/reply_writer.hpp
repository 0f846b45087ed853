// Sends the replies of one connection to its client: one gathered write sends all ready replies,
// with headers and data directly from their buffers.
//
// Part of a session, on its thread. The dispatcher fills in the replies; the session handles a
// client that accepts no more replies.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "nbd/dispatcher.hpp"

namespace xenpv::nbd {

namespace asio = boost::asio;

template <class Stream>
class reply_writer final : public reply_sink {
 public:
  /// `source` may be constructed after this object. `changed` is called after each write. Its
  /// argument is true once, when the client accepts no more replies; after that, replies are
  /// accepted and discarded.
  reply_writer(Stream& stream, asio::any_io_executor executor, dispatcher& source,
               std::function<void(bool broken)> changed)
      : stream_(stream),
        executor_(std::move(executor)),
        dispatcher_(source),
        changed_(std::move(changed)) {}

  [[nodiscard]] bool is_idle() const noexcept { return !writing_; }

  void reply_ready(reply_part& part) override {
    part.next = nullptr;
    (last_ == nullptr ? ready_ : last_->next) = &part;
    last_ = &part;
    if (writing_) return;
    writing_ = true;
    // Deferred, because the device completes several requests at a time: one write then sends all
    // their replies.
    asio::post(executor_, [this] { write(); });
  }

 private:
  void write() {
    gathered_.clear();
    sending_ = nullptr;
    auto** tail = &sending_;
    while (ready_ != nullptr && gathered_.size() < most_vectors) {
      auto* const part = ready_;
      ready_ = part->next;
      if (ready_ == nullptr) last_ = nullptr;
      part->next = nullptr;
      *tail = part;
      tail = &part->next;
      gathered_.emplace_back(part->header.data(), part->header.size());
      dispatcher::for_each_data(*part, [this](std::span<std::byte> stretch) { add_data(stretch); });
    }
    if (broken_) return written(asio::error::broken_pipe);
    unsent_ = gathered_;
    write_some();
  }

  /// Does not use asio::async_write, which writes at most 16 vectors and 64 KiB at a time: that
  /// would take several iterations of the event loop and several system calls instead of one each.
  void write_some() {
    stream_.async_write_some(unsent_, [this](boost::system::error_code code, std::size_t count) {
      skip_sent(count);
      if (code || unsent_.empty()) return written(code);
      write_some();
    });
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
    if (code) dispatcher_.abandon();
    while (sending_ != nullptr)
      dispatcher_.sent(*std::exchange(sending_, sending_->next));
    const bool breaks = code && !broken_;
    broken_ = broken_ || breaks;
    // Posted, so that a long series of discarded replies does not recurse.
    writing_ = ready_ != nullptr;
    if (writing_) asio::post(executor_, [this] { write(); });
    changed_(breaks);
  }

  /// As many vectors as Asio passes to the kernel in one call. Later replies wait until these are
  /// sent and their memory is free again.
  static constexpr std::size_t most_vectors = 64;

  Stream& stream_;
  asio::any_io_executor executor_;
  dispatcher& dispatcher_;
  std::function<void(bool)> changed_;
  reply_part* ready_ = nullptr;
  reply_part* last_ = nullptr;
  reply_part* sending_ = nullptr;
  std::vector<asio::const_buffer> gathered_;
  std::span<asio::const_buffer> unsent_;  ///< the unsent part of gathered_
  bool writing_ = false;
  bool broken_ = false;
};

}  // namespace xenpv::nbd
