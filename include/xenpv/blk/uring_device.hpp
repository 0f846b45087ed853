// A file or a block device of the kernel as a blk::block_device: io_uring, past the kernel's cache
// (O_DIRECT). What a frontend of ours is compared with, through the same interface.
//
// Each queue has a ring of its own and lives on one executor's thread. Splits nothing and aligns
// nothing: offset, length and memory of each request must suit O_DIRECT (whole sectors, memory
// aligned to one), else the kernel's EINVAL is its status.
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
    bool direct = true;    ///< off for file systems that cannot: then the page cache is measured
    unsigned depth = 256;  ///< entries of each ring; more requests wait in a list
  };

  /// A queue on each of `executors`. Not read-only: nobody else may use the device, mounts
  /// included (O_EXCL). Throws `failure`; what() says so when the kernel has no io_uring or forbids
  /// it.
  [[nodiscard]] static std::unique_ptr<uring_device> open(
      const std::string& path, const std::vector<async::asio::any_io_executor>& executors,
      options how);
  /// close() should have run; without it nothing may be in flight, and the executors' threads must
  /// not be running any more.
  ~uring_device() override;

  [[nodiscard]] std::size_t queue_count() const noexcept override;
  [[nodiscard]] block_queue& queue(std::size_t index) noexcept override;
  [[nodiscard]] const geometry& shape() const noexcept;

  /// Ends the queues, each on its thread. No request may be in flight. Again is harmless.
  [[nodiscard]] async::asio::awaitable<void> close();

 private:
  class uring_queue;
  uring_device();
  geometry shape_;
  std::vector<std::unique_ptr<uring_queue>> queues_;
};

}  // namespace xenpv::blk
