// copy_first_block [DEVICE]: overwrites the second 4 KiB of a PV disk with the first, and flushes.
//
// DEVICE is a xenstore path ("device/vbd/51728"). The kernel driver must not be using the disk. To
// try it without Xen:
//   xenpv-sim run --disk xvdb,memory=64M -- ./copy_first_block
#include <cstdio>
#include <exception>
#include <string>
#include <vector>
#include <xenpv/async/runtime.hpp>
#include <xenpv/async/shield.hpp>
#include <xenpv/base/standard_streams.hpp>
#include <xenpv/blkfront/frontend.hpp>

namespace {

namespace asio = boost::asio;

asio::awaitable<void> copy_block(xenpv::blkfront::frontend& disk) {
  std::vector<std::byte> block(4096);
  co_await disk.read(0, block);
  co_await disk.write(block.size(), block);
  // If the backend does not support flush, there is no way to make the write durable.
  if (disk.facts().flush != xenpv::blkfront::flush_support::none) co_await disk.flush();
  std::printf("copied %zu bytes of %s\n", block.size(), disk.facts().device.c_str());
}

asio::awaitable<void> run(xenpv::async::runtime& runtime, std::string device) {
  const auto disk = co_await xenpv::blkfront::frontend::open(runtime, std::move(device));
  const auto close = [&] { return disk->close(); };  // performs the closing handshake
  co_await xenpv::async::clean_up_on_failure(copy_block(*disk), close);
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
    std::fprintf(stderr, "copy_first_block: %s\n", e.what());
    return 1;
  }
}
