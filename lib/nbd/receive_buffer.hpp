// The bytes that a session has received and not yet used: request headers and the parts of payloads
// that arrived with them. Owned by a session; does no I/O.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

namespace xenpv::nbd {

class receive_buffer {
 public:
  explicit receive_buffer(std::size_t size) : bytes_(size), window_(size) {}

  /// The number of unused bytes.
  [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return std::span(bytes_).subspan(begin_, size());
  }
  /// Marks the first `count` bytes as used.
  void consume(std::size_t count) noexcept { begin_ += count; }
  /// Copies unused bytes to `target`, as many as fit, and consumes them. Returns their number.
  std::size_t move_to(std::span<std::byte> target) noexcept {
    const auto count = std::min(target.size(), size());
    std::memcpy(target.data(), bytes_.data() + begin_, count);
    begin_ += count;
    return count;
  }

  /// Limits space(): to read less than the buffer could hold.
  void set_window(std::size_t size) noexcept { window_ = size; }
  /// Returns the space for the next bytes. Invalidates bytes().
  [[nodiscard]] std::span<std::byte> space() noexcept {
    // The remaining bytes are the start of an incomplete request header.
    std::memmove(bytes_.data(), bytes_.data() + begin_, size());
    end_ -= begin_;
    begin_ = 0;
    return std::span(bytes_).subspan(end_, std::min(window_, bytes_.size()) - end_);
  }
  /// Call after `count` bytes were received into space().
  void received(std::size_t count) noexcept { end_ += count; }
  /// Fills the empty buffer with a copy of `bytes`, however long it is.
  void assign(std::span<const std::byte> bytes) {
    bytes_.resize(std::max(bytes_.size(), bytes.size()));
    std::ranges::copy(bytes, bytes_.begin());
    begin_ = 0;
    end_ = bytes.size();
  }

 private:
  std::vector<std::byte> bytes_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t window_;  ///< how much of bytes_ to fill, in bytes
};

}  // namespace xenpv::nbd
