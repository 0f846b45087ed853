// A disk in a file or on a block device. Blocking calls run in the medium's thread pool, so that a
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
  /// Throws `failure` naming the file. Requests with sufficient alignment use O_DIRECT if the file
  /// system supports it; all others use the page cache.
  file_medium(std::string path, bool read_only);
  ~file_medium();
  file_medium(const file_medium&) = delete;
  file_medium& operator=(const file_medium&) = delete;

  /// Returns the size in bytes. Queries the kernel, because another program may have resized the
  /// file. Throws `failure`.
  [[nodiscard]] std::uint64_t size() const;
  /// Truncates or extends a regular file; only verifies the size of a block device. Throws
  /// `failure`.
  void resize(std::uint64_t new_size);
  /// Returns "major:minor", in hexadecimal, of the block device or of the device that contains the
  /// file.
  [[nodiscard]] std::string device() const;
  [[nodiscard]] bool is_direct() const noexcept { return static_cast<bool>(direct_); }

  /// Executes `request` on one of the threads, then calls its `done` on `executor`.
  void start(store_request& request, const asio::any_io_executor& executor);

 private:
  [[nodiscard]] int execute(const store_request& request);
  [[nodiscard]] int transfer(const store_request& request) const;
  [[nodiscard]] int flush();
  [[nodiscard]] int discard(const store_request& request) const;

  std::string path_;
  bool is_block_device_ = false;
  unique_fd cached_;
  unique_fd direct_;
  /// The error of the first failed flush. All later flushes return it: the kernel drops data that
  /// it cannot write, so a later success would be wrong. Accessed only on the strand flushes_.
  int flush_error_ = 0;
  // Declared last, so that the threads exit before the members they use are destroyed.
  asio::thread_pool threads_;
  asio::strand<asio::thread_pool::executor_type> flushes_;
};

class file_store final : public store {
 public:
  file_store(std::shared_ptr<file_medium> medium, asio::any_io_executor executor)
      : medium_(std::move(medium)), executor_(std::move(executor)) {}
  /// Never completes the request within this call.
  void submit(store_request& request) noexcept override { medium_->start(request, executor_); }

 private:
  std::shared_ptr<file_medium> medium_;
  asio::any_io_executor executor_;
};

}  // namespace xenpv::blkback
