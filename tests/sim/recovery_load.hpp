// Verified I/O on a disk that loses and regains its backend: workers write, read, flush and discard
// with several overlapping requests in flight. Each worker uses its own region and one region that
// all workers share. The oracle determines which data a read may return.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "sim/block_device.hpp"
#include "sim/recovery_oracle.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::blkfront {

class recovery_load {
 public:
  static constexpr std::uint32_t block_size = 4096;
  static constexpr std::uint32_t blocks = 16;  ///< per region
  static constexpr std::uint64_t region_size = std::uint64_t{block_size} * blocks;

  /// `number`: number of this worker, and of its own region; `shared`: number of the region that
  /// all workers of the disk share. `has_deadline`: requests may fail with errc::timed_out.
  recovery_load(blk::block_queue& queue, recovery_oracle& oracle, std::uint64_t number,
                std::uint64_t shared, unsigned seed, bool has_deadline)
      : queue_(queue),
        oracle_(oracle),
        number_(number),
        shared_(shared),
        random_(seed),
        has_deadline_(has_deadline) {}

  /// Runs on the queue's thread until stop() is called or a check fails.
  [[nodiscard]] asio::awaitable<void> run();
  void stop() noexcept { stopped_ = true; }
  /// Flushes the disk, and retries a flush that was allowed to fail.
  [[nodiscard]] asio::awaitable<void> flush();
  /// Reads and checks this worker's region and the shared region.
  [[nodiscard]] asio::awaitable<void> verify();

  [[nodiscard]] const std::vector<std::string>& problems() const noexcept { return problems_; }
  [[nodiscard]] std::uint64_t operations() const noexcept { return operations_; }
  /// Number of requests that failed in an allowed way, by kind of failure.
  [[nodiscard]] std::uint64_t timed_out() const noexcept { return timed_out_; }
  [[nodiscard]] std::uint64_t flushes_failed() const noexcept { return flushes_failed_; }

 private:
  struct tracked_request;
  using batch = std::vector<std::unique_ptr<tracked_request>>;

  [[nodiscard]] unsigned pick(unsigned below) { return static_cast<unsigned>(random_() % below); }
  [[nodiscard]] std::unique_ptr<tracked_request> make_request();
  void choose_range(tracked_request& r, bool whole_blocks);
  [[nodiscard]] std::unique_ptr<tracked_request> read_of(std::uint64_t region);
  void begin(tracked_request& r);
  void end(tracked_request& r);
  [[nodiscard]] bool may_fail(const tracked_request& r);
  static void answered(blk::request& r);
  [[nodiscard]] asio::awaitable<void> run_together(const batch& requests);
  void report(std::string problem);

  blk::block_queue& queue_;
  recovery_oracle& oracle_;
  std::uint64_t number_;
  std::uint64_t shared_;
  std::mt19937 random_;
  bool has_deadline_;
  bool stopped_ = false;
  std::vector<std::string> problems_;
  std::uint64_t operations_ = 0;
  std::uint64_t timed_out_ = 0;
  std::uint64_t flushes_failed_ = 0;
};

}  // namespace xenpv::blkfront
