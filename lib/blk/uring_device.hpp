// A file or a kernel block device as a blk::block_device: io_uring with O_DIRECT, bypassing the
// page cache. Serves as the baseline for benchmarks of a frontend, through the same interface.
//
// Each queue has its own ring and is used on one executor's thread. Does not split or align
// requests: offset, length and memory must meet the requirements of O_DIRECT (whole sectors, memory
// aligned to a sector), or the request fails with the kernel's EINVAL.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "xenpv/blk/block_device.hpp"

namespace xenpv::blk {

class uring_device final : public block_device {
 public:
  struct options {
    bool read_only = true;
    bool direct = true;    ///< false: use the page cache, for file systems without O_DIRECT
    unsigned depth = 256;  ///< entries per ring; further requests wait in a list
  };

  /// Creates one queue on each of `executors`. A writable block device is opened exclusively
  /// (O_EXCL): it must not be mounted or otherwise in use. Throws `failure`; the message states
  /// whether the kernel lacks io_uring or forbids its use.
  [[nodiscard]] static std::unique_ptr<uring_device> open(
      const std::string& path, const std::vector<asio::any_io_executor>& executors,
      options options);
  /// Call close() first. Otherwise all requests must have completed, and the threads that run the
  /// executors must have stopped.
  ~uring_device() override;

  [[nodiscard]] std::size_t queue_count() const noexcept override;
  [[nodiscard]] block_queue& queue(std::size_t index) noexcept override;
  [[nodiscard]] const geometry& shape() const noexcept;

  /// Closes each queue on its thread. Call only when all requests have completed. Idempotent.
  [[nodiscard]] asio::awaitable<void> close();

 private:
  class uring_queue;
  uring_device();
  geometry shape_;
  std::vector<std::unique_ptr<uring_queue>> queues_;
};

}  // namespace xenpv::blk
