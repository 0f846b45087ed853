// A server for an in-memory disk with two queues on two threads, a fake kernel, and the attachment
// under test, which connects them.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fake_kernel.hpp"
#include "unit/xen/fake_root.hpp"
#include "xenpv/async/asio.hpp"
#include "xenpv/async/cpu_pool.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/blk/block_device.hpp"
#include "xenpv/nbd/kernel_attachment.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::nbd::test {

/// A disk of 1 MiB in memory with two queues. A stalled queue does not complete requests.
class memory_disk final : public blk::block_device {
 public:
  explicit memory_disk(const std::vector<asio::any_io_executor>& executors);
  ~memory_disk() override;

  [[nodiscard]] std::size_t queue_count() const noexcept override { return queues_.size(); }
  [[nodiscard]] blk::block_queue& queue(std::size_t index) noexcept override;
  /// Stalls the queue, or completes its requests and lets it continue. Call it on the queue's
  /// thread.
  void stall(std::size_t index, bool enable);
  [[nodiscard]] std::size_t waiting(std::size_t index) const;

 private:
  class memory_queue;
  std::vector<std::byte> bytes_;
  std::vector<std::unique_ptr<memory_queue>> queues_;
};

class attachment_rig {
 public:
  explicit attachment_rig(attachment_options options = {});
  ~attachment_rig();
  attachment_rig(const attachment_rig&) = delete;
  attachment_rig& operator=(const attachment_rig&) = delete;

  /// Runs `body` on the control thread, then stops the server.
  void run(std::function<asio::awaitable<void>()> body);

  /// Performs I/O on socket `link` of the device in place of the kernel, on a separate thread.
  /// Throws if the server closes the connection.
  [[nodiscard]] asio::awaitable<std::string> read(std::size_t link, std::uint64_t offset,
                                                  std::uint32_t length);
  [[nodiscard]] asio::awaitable<void> write(std::size_t link, std::uint64_t offset,
                                            std::string bytes);
  /// Sends a read without waiting for the reply.
  void send_read(std::size_t link);

  /// Polls `condition`. Throws if it does not become true in time.
  [[nodiscard]] asio::awaitable<void> until(std::function<bool()> condition);
  [[nodiscard]] asio::awaitable<void> until_requested(std::string request);
  template <class Function>
  [[nodiscard]] auto on_queue(std::size_t index, Function function) {
    return async::call_on(pool_->executor(index), std::move(function));
  }
  [[nodiscard]] asio::any_io_executor control() { return control_.get_executor(); }

 private:
  asio::awaitable<void> live(std::function<asio::awaitable<void>()> body);

  asio::io_context control_{1};
  std::unique_ptr<async::cpu_pool> pool_;
  asio::thread_pool kernel_thread_{1};

 public:
  xen::test::fake_root tree;  ///< contains /dev/nbd0
  fake_kernel kernel;
  std::unique_ptr<memory_disk> disk;
  std::unique_ptr<nbd::server> server;
  std::unique_ptr<kernel_attachment> attachment;
};

/// A coroutine that runs in the background on the rig's control thread.
class background {
 public:
  background(attachment_rig& rig, asio::awaitable<void> body);
  /// Requests a terminal cancellation.
  void cancel();
  [[nodiscard]] bool is_over() const;
  /// Waits for the coroutine to end. Rethrows its exception.
  [[nodiscard]] asio::awaitable<void> wait();

 private:
  struct outcome;
  attachment_rig& rig_;
  std::shared_ptr<outcome> outcome_;
};

/// Makes opening the device hang for the lifetime of this object, as if the server did not reply to
/// the kernel's reads.
class hanging_device {
 public:
  explicit hanging_device(attachment_rig& rig, const std::string& path = "/dev/nbd0");
  ~hanging_device();
  hanging_device(const hanging_device&) = delete;
  hanging_device& operator=(const hanging_device&) = delete;

  /// Whether a child process is opening the device.
  [[nodiscard]] bool is_being_opened() const;

 private:
  std::filesystem::path path_;
};

}  // namespace xenpv::nbd::test
