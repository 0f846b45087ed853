// checksum_without_copy [DEVICE]: adds up the bytes in the first MiB of a PV disk.
//
// The backend writes the data to leased pages, where the program reads it, without copying data or
// allocating memory. Requests are submitted on the thread that owns the queue. To try it
// without Xen:
//   xenpv-sim run --disk xvdb,memory=64M -- ./checksum_without_copy
#include <cstdio>
#include <exception>
#include <numeric>
#include <string>
#include <xenpv/async/run_on.hpp>
#include <xenpv/async/runtime.hpp>
#include <xenpv/async/shield.hpp>
#include <xenpv/base/standard_streams.hpp>
#include <xenpv/blkfront/frontend.hpp>

namespace {

namespace asio = boost::asio;
namespace blk = xenpv::blk;

constexpr std::uint64_t chunk = 32 << 10;
constexpr std::uint64_t total = 1 << 20;

asio::awaitable<void> print_sum(blk::block_queue& queue) {
  std::uint64_t sum = 0;
  for (std::uint64_t offset = 0; offset < total; offset += chunk) {
    auto pages = queue.try_lease(offset, chunk);
    if (!pages)
      throw xenpv::failure(std::make_error_code(std::errc::not_enough_memory), "lease pages");
    blk::request request;
    request.op = blk::operation::read;
    request.offset = offset;
    request.length = chunk;
    request.pages = &*pages;
    co_await blk::run(queue, request);
    if (request.status) throw xenpv::failure(request.status, "read the disk");
    pages->for_each_span(0, chunk, [&](std::span<std::byte> bytes) {
      sum = std::accumulate(bytes.begin(), bytes.end(), sum, [](std::uint64_t s, std::byte b) {
        return s + std::to_integer<unsigned>(b);
      });
    });
  }
  std::printf("sum of the first MiB: %llu\n", static_cast<unsigned long long>(sum));
}

asio::awaitable<void> run(xenpv::async::runtime& runtime, std::string device) {
  const auto disk = co_await xenpv::blkfront::frontend::open(runtime, std::move(device));
  auto& queue = disk->queue(0);
  auto body = xenpv::async::run_on(queue.get_executor(), [&] { return print_sum(queue); });
  const auto close = [&] { return disk->close(); };
  co_await xenpv::async::clean_up_on_failure(std::move(body), close);
  co_await close();
}

}  // namespace

int main(int argc, char** argv) {
  xenpv::open_standard_streams();
  try {
    xenpv::async::runtime runtime;
    runtime.run(
        [&](auto& session) { return run(session, argc > 1 ? argv[1] : "device/vbd/51728"); });
  } catch (const std::exception& e) {
    std::fprintf(stderr, "checksum_without_copy: %s\n", e.what());
    return 1;
  }
}
