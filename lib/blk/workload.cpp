#include "blk/workload.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "async/nursery.hpp"
#include "async/signal.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::blk {
namespace {

using clock = std::chrono::steady_clock;

/// A fast pseudo-random generator (xorshift64).
class random_numbers {
 public:
  explicit random_numbers(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ULL | 1U) {}
  std::uint64_t next() noexcept {
    state_ ^= state_ << 13U;
    state_ ^= state_ >> 7U;
    state_ ^= state_ << 17U;
    return state_;
  }

 private:
  std::uint64_t state_;
};

struct free_deleter {
  void operator()(std::byte* memory) const noexcept { std::free(memory); }
};
using block_memory = std::unique_ptr<std::byte, free_deleter>;

/// Allocates page-aligned memory, as O_DIRECT requires.
block_memory allocate_block(std::uint32_t size, std::uint64_t seed) {
  const auto whole = (std::size_t{size} + page_size - 1) / page_size * page_size;
  block_memory memory(static_cast<std::byte*>(std::aligned_alloc(page_size, whole)));
  if (!memory)
    throw failure(std::make_error_code(std::errc::not_enough_memory), "allocate workload buffers");
  random_numbers numbers(seed);
  for (std::size_t offset = 0; offset < whole; offset += sizeof(std::uint64_t)) {
    const auto number = numbers.next();
    std::memcpy(memory.get() + offset, &number, sizeof number);
  }
  return memory;
}

class queue_load;

struct job : request {
  job(queue_load& parent, const workload& load, std::uint64_t number)
      : owner(parent), numbers(number + 1), block(allocate_block(load.block, number + 1)) {
    op = load.op;
  }
  /// If `buffer` is empty, the job uses its private memory.
  void set_buffer(lease buffer) {
    buffer_lease = std::move(buffer);
    pages = buffer_lease ? &buffer_lease : nullptr;
    memory = buffer_lease ? nullptr : block.get();
    has_buffer = true;
  }
  [[nodiscard]] lease take_buffer() {
    has_buffer = false;
    return std::move(buffer_lease);
  }

  queue_load& owner;
  random_numbers numbers;
  block_memory block;
  lease buffer_lease;
  bool has_buffer = false;
  std::uint64_t left = 0;  ///< bytes of the block after the current request
  clock::time_point submitted;
};

/// Leases are taken for offset 0 and reused for other offsets. This works only for whole pages.
bool uses_device_pages(const block_queue& queue, const workload& load) {
  return load.in_place && queue.pages() != nullptr && load.block % page_size == 0;
}

/// Returns the number of bytes per request: the whole block, or an equal part of the block if the
/// device has too few pages for `depth` whole blocks.
std::uint32_t choose_piece(const block_queue& queue, const workload& load) {
  if (!uses_device_pages(queue, load)) return load.block;
  const auto pages = load.block / page_size;
  const auto share = std::max<std::size_t>(1, queue.pages()->free() / load.depth);
  auto parts = (pages + share - 1) / share;
  while (pages % parts != 0)
    ++parts;
  return static_cast<std::uint32_t>(load.block / parts);
}

/// Leases up to `depth` buffers of device pages, as many as fit into the pool. If the result is
/// empty, the requests use private memory.
std::vector<lease> lease_buffers(block_queue& queue, const workload& load, std::uint32_t piece) {
  std::vector<lease> out;
  if (!uses_device_pages(queue, load)) return out;
  while (out.size() < load.depth) {
    auto buffer = queue.try_lease(0, piece);
    if (!buffer) break;
    out.push_back(std::move(*buffer));
  }
  return out;
}

/// Runs one queue's share of a load. A sequential load divides the device into `parts` equal ranges
/// and starts at the beginning of range `part`.
class queue_load {
 public:
  queue_load(block_queue& queue, const workload& load, std::uint64_t part, std::uint64_t parts)
      : queue_(queue),
        load_(load),
        blocks_(queue.shape().size / load.block),
        piece_(choose_piece(queue, load)),
        next_(blocks_ / parts * part),
        ended_(queue.get_executor()) {
    auto buffers = lease_buffers(queue, load, piece_);
    const auto has_leases = !buffers.empty();
    if (!has_leases) piece_ = load.block;
    for (unsigned i = 0; i < load.depth; ++i) {
      jobs_.push_back(std::make_unique<job>(*this, load, part * load.depth + i));
      jobs_.back()->done = [](request& r) {
        auto& self = static_cast<job&>(r);
        self.owner.piece_answered(self);
      };
      if (!has_leases) {
        jobs_.back()->set_buffer({});
      } else if (!buffers.empty()) {
        buffers.back().copy_from(0, {jobs_.back()->block.get(), piece_});
        jobs_.back()->set_buffer(std::move(buffers.back()));
        buffers.pop_back();
      }
    }
  }

  asio::awaitable<workload_result> run() {
    asio::steady_timer limit(queue_.get_executor(), load_.time);
    limit.async_wait([this](auto) { stopping_ = true; });
    const auto start = clock::now();
    for (const auto& j : jobs_)
      if (submitted_ < load_.count) submit(*j, clock::now());
    queue_.commit();
    while (active_ > 0)
      co_await ended_.wait();
    result_.time = clock::now() - start;
    limit.cancel();
    // The cancelled handler refers to this object and is already queued in the context: let it run
    // first.
    co_await asio::post(queue_.get_executor(), asio::use_awaitable);
    co_return result_;
  }

 private:
  void submit(job& j, clock::time_point now) {
    const auto block = load_.random ? j.numbers.next() % blocks_ : next_++ % blocks_;
    j.offset = block * load_.block;
    j.length = piece_;
    j.left = load_.block - piece_;
    ++active_;
    ++submitted_;
    j.submitted = now;
    if (!j.has_buffer) return waiting_.push_back(&j);
    queue_.submit(j);
  }

  /// Passes the job's buffer to the oldest job that waits for one.
  void pass_buffer(job& j) {
    if (waiting_.empty()) return;
    auto& next = *waiting_.front();
    waiting_.pop_front();
    next.set_buffer(j.take_buffer());
    queue_.submit(next);
  }

  void piece_answered(job& j) {
    if (j.left == 0 || j.status) return answered(j);
    j.offset += piece_;
    j.left -= piece_;
    queue_.submit(j);
  }

  void answered(job& j) {
    // Also the start time of the next request. Use the device's timestamp if there is one: reading
    // the clock takes as long as a request if the hypervisor emulates the counter.
    const auto completed = j.answered_ns != 0
                               ? clock::time_point(std::chrono::nanoseconds(j.answered_ns))
                               : clock::now();
    // A failing device reports the time of its last event-loop iteration, which may precede the
    // submission.
    const auto now = std::max(completed, j.submitted);
    --active_;
    ++result_.requests;
    result_.latency_ns.add(static_cast<std::uint64_t>((now - j.submitted).count()));
    if (j.status && result_.errors++ == 0) result_.first_error = j.status;
    // The device keeps the pages of an abandoned request.
    if (j.pages != nullptr && !j.buffer_lease) j.set_buffer({});
    pass_buffer(j);
    if (!stopping_ && submitted_ < load_.count) return submit(j, now);
    if (active_ == 0) ended_.notify();
  }

  block_queue& queue_;
  workload load_;
  std::uint64_t blocks_;
  std::uint32_t piece_;
  std::uint64_t next_;
  async::signal ended_;
  std::vector<std::unique_ptr<job>> jobs_;
  std::deque<job*> waiting_;  ///< started jobs that wait for a buffer
  workload_result result_;
  std::uint64_t submitted_ = 0;
  unsigned active_ = 0;
  bool stopping_ = false;
};

void check(const workload& load, const geometry& shape) {
  const auto refuse = [](std::string_view reason) {
    throw failure(make_error_code(errc::invalid_argument), "run a workload on a block device",
                  reason);
  };
  if (load.op != operation::read && load.op != operation::write)
    refuse(fmt::format("{} is not supported; use read or write", to_string(load.op)));
  if (load.depth == 0) refuse("the depth must be at least 1");
  if (load.block == 0 || load.block % shape.sector_size != 0)
    refuse(fmt::format("block size {} is not a multiple of the sector size {}", load.block,
                       shape.sector_size));
  if (load.block > shape.size)
    refuse(fmt::format("block size {} exceeds the device size {}", load.block, shape.size));
  if (load.op == operation::write && shape.read_only) refuse("the device is read-only");
}

asio::awaitable<workload_result> run_part(block_queue& queue, workload load, std::uint64_t part,
                                          std::uint64_t parts) {
  check(load, queue.shape());
  queue_load share(queue, load, part, parts);
  co_return co_await share.run();
}

void add(workload_result& sum, const workload_result& part) {
  sum.requests += part.requests;
  sum.errors += part.errors;
  if (!sum.first_error) sum.first_error = part.first_error;
  sum.time = std::max(sum.time, part.time);
  sum.latency_ns.add(part.latency_ns);
}

}  // namespace

asio::awaitable<workload_result> run(block_queue& queue, workload load) {
  return run_part(queue, load, 0, 1);
}

asio::awaitable<workload_result> run(block_device& device, workload load) {
  const auto parts = std::clamp<std::size_t>(device.queue_count(), 1, std::max(1U, load.depth));
  std::vector<workload_result> results(parts);
  // The nursery requires children on the caller's executor; each child then switches to its queue's
  // executor.
  async::nursery loads(co_await asio::this_coro::executor);
  for (std::size_t i = 0; i < parts; ++i) {
    auto share = load;
    share.depth = load.depth / static_cast<unsigned>(parts) + (i < load.depth % parts ? 1 : 0);
    auto& queue = device.queue(i);
    auto& result = results[i];
    auto run_share = [&queue, &result, share, i, parts]() -> asio::awaitable<void> {
      result = co_await run_part(queue, share, i, parts);
    };
    loads.spawn(async::run_on(queue.get_executor(), run_share));
  }
  co_await loads.join();
  workload_result sum;
  for (const auto& part : results)
    add(sum, part);
  co_return sum;
}

}  // namespace xenpv::blk
