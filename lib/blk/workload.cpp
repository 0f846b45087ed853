#include "xenpv/blk/workload.hpp"

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

#include "xenpv/async/nursery.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::blk {
namespace {

namespace asio = async::asio;
using clock = std::chrono::steady_clock;

/// Pseudo-random numbers, a few instructions each (xorshift64).
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

struct freed {
  void operator()(std::byte* memory) const noexcept { std::free(memory); }
};
using block_memory = std::unique_ptr<std::byte, freed>;

/// Aligned to pages: the kernel takes nothing else for I/O past its cache.
block_memory allocate_block(std::uint32_t size, std::uint64_t seed) {
  const auto whole = (std::size_t{size} + page_size - 1) / page_size * page_size;
  block_memory memory(static_cast<std::byte*>(std::aligned_alloc(page_size, whole)));
  if (!memory) throw failure(std::make_error_code(std::errc::not_enough_memory), "make a load");
  random_numbers numbers(seed);
  for (std::size_t at = 0; at < whole; at += sizeof(std::uint64_t)) {
    const auto number = numbers.next();
    std::memcpy(memory.get() + at, &number, sizeof number);
  }
  return memory;
}

class queue_load;

struct job : request {
  job(queue_load& to, const workload& load, std::uint64_t number)
      : owner(to), numbers(number + 1), block(allocate_block(load.block, number + 1)) {
    op = load.op;
  }
  /// Device's pages, or without them memory of its own.
  void move_in(lease place) {
    in_place = std::move(place);
    pages = in_place ? &in_place : nullptr;
    memory = in_place ? nullptr : block.get();
    has_place = true;
  }
  [[nodiscard]] lease move_out() {
    has_place = false;
    return std::move(in_place);
  }

  queue_load& owner;
  random_numbers numbers;
  block_memory block;
  lease in_place;
  bool has_place = false;
  std::uint64_t left = 0;  ///< bytes of the block behind this piece of it
  clock::time_point submitted;
};

/// Pages are laid out for one stretch; only of whole pages is each laid out like the next.
bool lies_in_pages(const block_queue& queue, const workload& load) {
  return load.in_place && queue.pages() != nullptr && load.block % page_size == 0;
}

/// Bytes of a block that are on their way at once: all of it, or where the device has not the pages
/// for `depth` whole ones, an even part.
std::uint32_t piece_of(const block_queue& queue, const workload& load) {
  if (!lies_in_pages(queue, load)) return load.block;
  const auto pages = load.block / page_size;
  const auto share = std::max<std::size_t>(1, queue.pages()->free() / load.depth);
  auto parts = (pages + share - 1) / share;
  while (pages % parts != 0)
    ++parts;
  return static_cast<std::uint32_t>(load.block / parts);
}

/// Where the requests of a load have their bytes: in pages of the device, as many as it has, or
/// nowhere but in their own memory.
std::vector<lease> take_places(block_queue& queue, const workload& load, std::uint32_t piece) {
  std::vector<lease> out;
  if (!lies_in_pages(queue, load)) return out;
  while (out.size() < load.depth) {
    auto place = queue.try_lease(0, piece);
    if (!place) break;
    out.push_back(std::move(*place));
  }
  return out;
}

/// The part of a load that one queue carries; in order, it begins at that of `parts` stretches of
/// the device.
class queue_load {
 public:
  queue_load(block_queue& queue, const workload& load, std::uint64_t part, std::uint64_t parts)
      : queue_(queue),
        load_(load),
        blocks_(queue.shape().size / load.block),
        piece_(piece_of(queue, load)),
        next_(blocks_ / parts * part),
        ended_(queue.executor(), clock::time_point::max()) {
    auto places = take_places(queue, load, piece_);
    const auto places_in_pages = !places.empty();
    if (!places_in_pages) piece_ = load.block;
    for (unsigned i = 0; i < load.depth; ++i) {
      jobs_.push_back(std::make_unique<job>(*this, load, part * load.depth + i));
      jobs_.back()->done = [](request& r) {
        auto& self = static_cast<job&>(r);
        self.owner.piece_answered(self);
      };
      if (!places_in_pages) {
        jobs_.back()->move_in({});
      } else if (!places.empty()) {
        places.back().copy_from(0, {jobs_.back()->block.get(), piece_});
        jobs_.back()->move_in(std::move(places.back()));
        places.pop_back();
      }
    }
  }

  asio::awaitable<workload_result> run() {
    asio::steady_timer limit(queue_.executor(), load_.time);
    limit.async_wait([this](auto) { stopping_ = true; });
    const auto start = clock::now();
    for (const auto& each : jobs_)
      if (submitted_ < load_.count) submit(*each, clock::now());
    queue_.commit();
    while (active_ > 0)
      (void)co_await ended_.async_wait(asio::as_tuple(asio::use_awaitable));
    result_.time = clock::now() - start;
    limit.cancel();
    // Its handler refers to this object and is in the context's queue by now.
    co_await asio::post(queue_.executor(), asio::use_awaitable);
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
    if (!j.has_place) return waiting_.push_back(&j);
    queue_.submit(j);
  }

  /// Those that wait for pages have them in the order they came.
  void pass_on(job& j) {
    if (waiting_.empty()) return;
    auto& next = *waiting_.front();
    waiting_.pop_front();
    next.move_in(j.move_out());
    queue_.submit(next);
  }

  void piece_answered(job& j) {
    if (j.left == 0 || j.status) return answered(j);
    j.offset += piece_;
    j.left -= piece_;
    queue_.submit(j);
  }

  void answered(job& j) {
    // The next one begins now, too, and the device has looked at the clock for all of this turn:
    // where the hypervisor emulates the counter, a look costs as much as a request.
    const auto now = j.answered_ns != 0 ? clock::time_point(std::chrono::nanoseconds(j.answered_ns))
                                        : clock::now();
    --active_;
    ++result_.requests;
    result_.latency_ns.add(static_cast<std::uint64_t>((now - j.submitted).count()));
    if (j.status && result_.errors++ == 0) result_.first_error = j.status;
    // The device keeps the pages of a request that it gave up.
    if (j.pages != nullptr && !j.in_place) j.move_in({});
    pass_on(j);
    if (!stopping_ && submitted_ < load_.count) return submit(j, now);
    if (active_ == 0) ended_.cancel();
  }

  block_queue& queue_;
  workload load_;
  std::uint64_t blocks_;
  std::uint32_t piece_;
  std::uint64_t next_;
  asio::steady_timer ended_;
  std::vector<std::unique_ptr<job>> jobs_;
  std::deque<job*> waiting_;  ///< begun, for pages
  workload_result result_;
  std::uint64_t submitted_ = 0;
  unsigned active_ = 0;
  bool stopping_ = false;
};

void check(const workload& load, const geometry& shape) {
  const auto refuse = [](std::string_view why) {
    throw failure(make_error_code(errc::invalid_argument), "load on a block device", why);
  };
  if (load.op != operation::read && load.op != operation::write)
    refuse(fmt::format("{} is no load; read and write are", to_string(load.op)));
  if (load.depth == 0) refuse("a depth of 0 requests");
  if (load.block == 0 || load.block % shape.sector_size != 0)
    refuse(fmt::format("blocks of {} bytes, expected whole sectors of {}", load.block,
                       shape.sector_size));
  if (load.block > shape.size)
    refuse(fmt::format("blocks of {} bytes on a device of {}", load.block, shape.size));
  if (load.op == operation::write && shape.read_only) refuse("writes to a read-only device");
}

asio::awaitable<workload_result> run_part(block_queue& queue, workload load, std::uint64_t part,
                                          std::uint64_t parts) {
  check(load, queue.shape());
  queue_load own(queue, load, part, parts);
  co_return co_await own.run();
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
  // The nursery wants children of the caller's executor; each hops to its queue by itself.
  async::nursery loads(co_await asio::this_coro::executor);
  for (std::size_t i = 0; i < parts; ++i) {
    auto own = load;
    own.depth = load.depth / static_cast<unsigned>(parts) + (i < load.depth % parts ? 1 : 0);
    auto& queue = device.queue(i);
    auto& result = results[i];
    auto carry = [&queue, &result, own, i, parts]() -> asio::awaitable<void> {
      result = co_await run_part(queue, own, i, parts);
    };
    loads.spawn(async::run_on(queue.executor(), carry));
  }
  co_await loads.join();
  workload_result sum;
  for (const auto& each : results)
    add(sum, each);
  co_return sum;
}

}  // namespace xenpv::blk
