// A bounded queue of a watch's unread events. On overflow, a single overflow event replaces all
// others. Performs no I/O.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>

#include "xenpv/async/watch_stream.hpp"

namespace xenpv::async {

class watch_queue {
 public:
  /// `path`: reported in overflow events. `capacity`: at least 1.
  explicit watch_queue(std::string path, std::size_t capacity = watch_stream_capacity)
      : path_(std::move(path)), capacity_(capacity) {}

  void push(std::string path);
  [[nodiscard]] std::optional<watch_event> pop();
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  std::size_t capacity_;
  std::deque<watch_event> events_;
};

}  // namespace xenpv::async
