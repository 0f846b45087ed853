// Requests that resubmit themselves from their own completion: a load on one queue without anything
// of the measurer's on the hot path.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdint>
#include <memory>
#include <vector>

#include "xenpv/base/histogram.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::bench {

struct load_options {
  blk::operation op = blk::operation::read;
  std::uint32_t block = 4096;
  unsigned depth = 1;
  bool random = true;
  std::chrono::nanoseconds time = std::chrono::milliseconds(200);
  std::uint64_t count = ~std::uint64_t{0};  ///< stop after so many, whatever the time
};

struct load_result {
  std::uint64_t requests = 0;
  std::uint64_t errors = 0;
  std::chrono::nanoseconds time{};

  [[nodiscard]] double per_second() const {
    return static_cast<double>(requests) / std::chrono::duration<double>(time).count();
  }
};

class block_load {
 public:
  block_load(blk::block_queue& queue, const load_options& how) : queue_(queue), how_(how) {}

  /// On the queue's thread.
  boost::asio::awaitable<void> run() {
    namespace asio = boost::asio;
    asio::steady_timer limit(queue_.executor(), how_.time);
    ended_ = std::make_unique<asio::steady_timer>(queue_.executor(),
                                                  std::chrono::steady_clock::time_point::max());
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::unique_ptr<job>> jobs;
    for (unsigned i = 0; i < how_.depth; ++i) {
      jobs.push_back(std::make_unique<job>(*this, i));
      submit(*jobs.back());
    }
    queue_.commit();
    limit.async_wait([this](auto) { stopping_ = true; });
    while (active_ > 0)
      (void)co_await ended_->async_wait(asio::as_tuple(asio::use_awaitable));
    result_.time = std::chrono::steady_clock::now() - start;
    limit.cancel();
    // Its handler refers to this object and is in the context's queue by now.
    co_await asio::post(queue_.executor(), asio::use_awaitable);
  }

  [[nodiscard]] const load_result& result() const { return result_; }

 private:
  struct job : blk::request {
    job(block_load& to, unsigned number) : owner(to), memory_of(new std::byte[to.how_.block]()) {
      op = to.how_.op;
      length = to.how_.block;
      memory = memory_of.get();
      seed = 0x9E3779B97F4A7C15ULL * (number + 1);
      done = [](blk::request& r) {
        auto& self = static_cast<job&>(r);
        self.owner.answered(self);
      };
    }
    block_load& owner;
    std::unique_ptr<std::byte[]> memory_of;
    std::uint64_t seed;
  };

  void submit(job& j) {
    const auto blocks = queue_.shape().size / how_.block;
    if (how_.random) {
      j.seed ^= j.seed << 13;
      j.seed ^= j.seed >> 7;
      j.seed ^= j.seed << 17;
      j.offset = (j.seed % blocks) * how_.block;
    } else {
      j.offset = (next_++ % blocks) * how_.block;
    }
    ++active_;
    ++submitted_;
    queue_.submit(j);
  }

  void answered(job& j) {
    --active_;
    ++result_.requests;
    if (j.status) ++result_.errors;
    if (!stopping_ && submitted_ < how_.count) return submit(j);
    if (active_ == 0) ended_->cancel();
  }

  blk::block_queue& queue_;
  load_options how_;
  load_result result_;
  std::unique_ptr<boost::asio::steady_timer> ended_;
  std::uint64_t next_ = 0;
  std::uint64_t submitted_ = 0;
  unsigned active_ = 0;
  bool stopping_ = false;
};

}  // namespace xenpv::bench
