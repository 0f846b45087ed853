// An in-memory block device that completes requests as the test chooses: at the end of a batch,
// later, in any order, with errors. Counts batches and logs every request.
//
// A queue and its pages belong to the thread of its executor. All queues share the device's bytes:
// requests on different queues must not overlap while they are in flight.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "async/event_batch.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::nbd::test {

/// Returns CPUs for two queues: the same CPU twice if only one is allowed.
[[nodiscard]] std::vector<unsigned> two_cpus();

struct fake_options {
  std::uint64_t size = std::uint64_t{1} << 20U;
  std::size_t pages = 64;  ///< per queue
  bool can_flush = true;
  bool can_discard = true;
  /// If true, requests complete at the end of their batch. Otherwise, the test calls answer().
  bool answers = true;
};

class fake_queue final : public blk::block_queue {
 public:
  fake_queue(asio::any_io_executor executor, const fake_options& options,
             std::vector<std::byte>& bytes);
  ~fake_queue() override;

  // block_queue
  [[nodiscard]] asio::any_io_executor get_executor() const override { return executor_; }
  void submit(blk::request& r) override;
  void commit() override;

  /// Executes and completes the request at `position` in `waiting`.
  void answer(std::size_t position = 0);
  /// Completes all requests, oldest first, including those submitted by completions.
  void answer_all();

  bool answers = true;
  bool answers_in_commit = false;  ///< requests complete within commit(), like those of a fast disk
  /// Decides the status of each request. An unset code means success.
  std::function<std::error_code(const blk::request&)> fails;

  /// Requests that the test has not completed, oldest first.
  std::vector<blk::request*> waiting;
  /// The number of requests in each batch. A batch ends with commit(), with the event batch
  /// or, outside of one, when the posted handler of the first submission runs.
  std::vector<std::size_t> batches;
  /// All requests, such as "read 512+4096 pages", "write 0+512 fua memory", "flush" or
  /// "discard 0+4096".
  std::vector<std::string> log;
  std::size_t submitted = 0;
  std::size_t most_waiting = 0;

 private:
  void end_batch();
  void carry_out(blk::request& r);

  asio::any_io_executor executor_;
  std::vector<std::byte>& bytes_;
  std::vector<blk::request*> batch_;
  async::batch_task end_of_batch_{[this] { end_batch(); }};
  bool end_is_posted_ = false;
};

class fake_device final : public blk::block_device {
 public:
  /// Creates one queue for each executor.
  explicit fake_device(const std::vector<asio::any_io_executor>& executors,
                       const fake_options& options = {});

  [[nodiscard]] std::size_t queue_count() const noexcept override { return queues_.size(); }
  [[nodiscard]] fake_queue& queue(std::size_t index) noexcept override { return *queues_[index]; }

  std::vector<std::byte> bytes;

 private:
  std::vector<std::unique_ptr<fake_queue>> queues_;
};

}  // namespace xenpv::nbd::test
