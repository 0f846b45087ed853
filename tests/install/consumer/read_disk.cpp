// read_disk [DEVICE]: a PV disk from user space, without the kernel's driver. Opens the device,
// reads its first sector, then a batch of blocks, says what that took, and closes.
//
// DEVICE is a path as in xenstore; the kernel must not have it (blacklist xen-blkfront, or unbind
// vbd-51728 from it). Try it without Xen: xenpv-sim run --disk xvdb,memory=64M -- ./read_disk
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdio>
#include <exception>
#include <vector>

#include "xenpv/async/run_on.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/base/parse.hpp"
#include "xenpv/blkfront/frontend.hpp"

namespace {

namespace asio = boost::asio;
using xenpv::blkfront::frontend;

/// Reads blocks through one queue, some at a time, in the callback form: what is allocated is
/// allocated before, and a request's end starts the next one in its place. Everything but the
/// constructor is for the queue's thread.
class block_reader {
 public:
  block_reader(xenpv::blk::block_queue& queue, std::uint64_t blocks)
      : queue_(queue), blocks_(blocks), all_done_(queue.executor()) {
    // Never expires: cancelling it wakes whoever waits.
    all_done_.expires_at(asio::steady_timer::time_point::max());
  }

  asio::awaitable<void> run() {
    for (auto& each : slots_) {
      each.owner = this;
      // Derive from request to carry your own context.
      each.done = [](xenpv::blk::request& r) {
        auto& mine = static_cast<slot&>(r);
        mine.owner->ended(mine);
      };
      start(each);
    }
    // Those submitted in one turn reach the backend with one notification, at the turn's end.
    if (in_flight_ > 0) co_await all_done_.async_wait(asio::as_tuple(asio::use_awaitable));
    if (error_) throw xenpv::failure(error_, "read a block");
  }

 private:
  static constexpr std::size_t block_size = 4096;
  static constexpr std::size_t at_once = 32;

  struct slot : xenpv::blk::request {
    block_reader* owner = nullptr;
    // Copied to from the pages that the backend sees; a lease of those (queue.try_lease) saves
    // that.
    std::array<std::byte, block_size> block;
  };

  void start(slot& s) {
    if (next_ == blocks_ || error_) return;
    s.op = xenpv::blk::operation::read;
    s.offset = next_++ * block_size;
    s.length = block_size;
    s.memory = s.block.data();
    ++in_flight_;
    queue_.submit(s);
  }

  /// The request is ours again: look at it, and use it for the next block.
  void ended(slot& s) {
    --in_flight_;
    if (s.status) error_ = s.status;
    start(s);
    if (in_flight_ == 0) all_done_.cancel();
  }

  xenpv::blk::block_queue& queue_;
  std::uint64_t blocks_;
  std::uint64_t next_ = 0;
  std::size_t in_flight_ = 0;
  std::error_code error_;
  std::array<slot, at_once> slots_;
  asio::steady_timer all_done_;
};

asio::awaitable<void> use(frontend& disk) {
  const auto& facts = disk.facts();
  const auto& shape = disk.shape();
  fmt::print("{} at {}: {}, sectors of {} bytes{}{}\n", facts.device, facts.backend,
             xenpv::format_size(shape.size), shape.sector_size,
             shape.read_only ? ", read-only" : "", shape.can_flush ? "" : ", cannot flush");
  fmt::print("{} queues of {} ring pages, {} segments at most, {} pages granted\n", facts.queues,
             1U << facts.ring_page_order, facts.segments, facts.pages);
  if (shape.size == 0) co_return;

  // The coroutine form, from any thread. Any offset and length will do.
  std::vector<std::byte> sector(shape.sector_size);
  co_await disk.read(0, sector);
  fmt::print("the first sector begins {:02x} {:02x} {:02x} {:02x}\n", sector[0], sector[1],
             sector[2], sector[3]);

  // The callback form, on the thread that owns the queue.
  auto& queue = disk.queue(0);
  block_reader reader(queue, std::min<std::uint64_t>(1000, shape.size / 4096));
  auto body = [&] { return reader.run(); };
  co_await xenpv::async::run_on(queue.executor(), body);

  xenpv::blkfront::queue_statistics total;
  for (const auto& each : co_await disk.statistics())
    total.add(each);
  const auto& reads = total.operations[static_cast<std::size_t>(xenpv::blk::operation::read)];
  const auto microseconds = [&](double share) {
    return static_cast<double>(reads.latency_ns.percentile(share)) / 1000;
  };
  fmt::print("{} reads, {}: half within {:.0f} us, 99 of 100 within {:.0f} us\n", reads.requests,
             xenpv::format_size(reads.bytes), microseconds(0.5), microseconds(0.99));
  fmt::print("{} notifications sent, {} events received\n", total.notifies_sent, total.events);
}

asio::awaitable<void> read_disk(xenpv::async::runtime& runtime, std::string device) {
  const auto disk = co_await frontend::open(runtime, std::move(device));
  // However it ends, the backend has to be told: nothing can be awaited in a handler or destructor.
  std::exception_ptr error;
  try {
    co_await use(*disk);
  } catch (...) {
    error = std::current_exception();
  }
  co_await disk->close();
  if (error) std::rethrow_exception(error);
}

}  // namespace

int main(int argc, char** argv) {
  const char* const device = argc > 1 ? argv[1] : "device/vbd/51728";
  try {
    // Before any other thread: it forks the custodian, which closes the device if we are killed.
    xenpv::async::runtime runtime;
    runtime.run([&](xenpv::async::runtime& on) { return read_disk(on, device); });
  } catch (const std::exception& e) {
    std::fprintf(stderr, "read_disk: %s\n", e.what());
    return 1;
  }
}
