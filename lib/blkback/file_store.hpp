// A disk in a file or on a block device. Blocking calls are made by a few threads of its own, so a
// ring's thread never waits for the disk.
#pragma once

#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "blkback/store.hpp"
#include "xenpv/async/asio.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::blkback {

/// The open file. Shared by the stores of a disk's rings; destroyed after their last request.
class file_medium {
 public:
  /// Throws `failure` naming the file. O_DIRECT is used if the file system has it, for requests
  /// that are aligned well enough; the page cache for all others.
  file_medium(std::string path, bool read_only);
  ~file_medium();
  file_medium(const file_medium&) = delete;
  file_medium& operator=(const file_medium&) = delete;

  /// Bytes. Asks the kernel: somebody else may have changed it. Throws `failure`.
  [[nodiscard]] std::uint64_t size() const;
  /// Cuts or extends a file. A block device only can be found to have that size. Throws `failure`.
  void resize(std::uint64_t size);
  /// "major:minor" in hexadecimal of the block device, or of the one the file lies on.
  [[nodiscard]] std::string device() const;
  [[nodiscard]] bool is_direct() const noexcept { return static_cast<bool>(direct_); }

  /// Does `request` on one of the threads, then calls its `done` on `ring`.
  void start(store_request& request, const async::asio::any_io_executor& ring);

 private:
  [[nodiscard]] int execute(const store_request& request);
  [[nodiscard]] int transfer(const store_request& request) const;
  [[nodiscard]] int flush();
  [[nodiscard]] int discard(const store_request& request) const;

  std::string path_;
  bool is_block_device_ = false;
  unique_fd cached_;
  unique_fd direct_;
  /// Of the first flush that failed. The kernel forgets what it could not write, so a later flush
  /// that succeeds would promise too much. Used on flushes_ only.
  int flush_error_ = 0;
  // Last, so that its threads end before what they use.
  async::asio::thread_pool threads_;
  async::asio::strand<async::asio::thread_pool::executor_type> flushes_;
};

class file_store final : public store {
 public:
  file_store(std::shared_ptr<file_medium> medium, async::asio::any_io_executor ring)
      : medium_(std::move(medium)), ring_(std::move(ring)) {}
  /// Never done when it returns.
  void submit(store_request& request) noexcept override { medium_->start(request, ring_); }

 private:
  std::shared_ptr<file_medium> medium_;
  async::asio::any_io_executor ring_;
};

}  // namespace xenpv::blkback
