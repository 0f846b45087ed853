// An external program that uses every public component, so that the build detects missing headers,
// libraries and dependencies. Runs only the parts that work on any machine.
#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>
#include <cstdio>
#include <exception>
#include <memory>
#include <span>

#include "xenpv/async/cpu_pool.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/async/event_loop.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/base/histogram.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blkfront/frontend.hpp"
#include "xenpv/nbd/server.hpp"
#include "xenpv/ring/blkif_ring.hpp"
#include "xenpv/wire/xenbus.hpp"
#include "xenpv/xen/event_channel.hpp"
#include "xenpv/xen/guest.hpp"

namespace {

boost::asio::awaitable<xenpv::port> answer() {
  co_return xenpv::port{7};
}

/// Not called, because it needs Xen. Linking it requires libxenevtchn.
[[maybe_unused]] void open_channels(boost::asio::io_context& context) {
  const xenpv::async::event_loop loop(context);
}

/// Not called, because it needs Xen. Linking it requires the libraries for PV disks and NBD.
boost::asio::awaitable<void> open_disk(xenpv::async::runtime& runtime) {
  const auto disk = co_await xenpv::blkfront::frontend::open(runtime, "device/vbd/51728");
  std::byte first{};
  co_await disk->queue(0).read(0, {&first, 1});
  xenpv::nbd::server_options options;
  options.tls = xenpv::nbd::tls_mode::require;
  options.credentials = xenpv::nbd::tls_credentials::from_psk_file("keys.psk");
  xenpv::nbd::server server(runtime.control(), options);
  xenpv::nbd::export_options exported;
  exported.name = "disk";
  server.add_export(*disk, exported);
  co_await server.stop();
  co_await disk->close();
}

/// Uses a ring, a page pool and a histogram, none of which needs Xen.
bool fill_a_ring() {
  alignas(4096) static std::byte memory[2 * xenpv::page_size];
  const std::span all(memory);
  xenpv::ring::blkif_front_ring ring(all.first(xenpv::page_size));
  auto pool = std::make_shared<xenpv::blk::page_pool>(all.subspan(xenpv::page_size));
  const auto lease = xenpv::blk::lease::try_take(pool, 0, 512, 512);
  ring.put(xenpv::wire::blkif_request{});
  xenpv::histogram latency;
  latency.add(7);
  return lease && ring.publish() && latency.percentile(0.5) == 7 &&
         to_string(xenpv::blk::operation::read) == "read" &&
         to_string(xenpv::blkfront::device_state::connected) == "connected";
}

}  // namespace

int main(int argc, char**) {
  try {
    const auto facts = xenpv::xen::read_guest_facts();
    if (facts.devices.empty()) return 3;
    if (!fill_a_ring()) return 4;
    if (argc > 99) xenpv::async::runtime().run(open_disk);
    const unsigned cpus[] = {xenpv::async::allowed_cpus().front()};
    xenpv::async::cpu_pool pool(cpus);
    if (argc > 99) open_channels(pool.context(0));
    auto port = boost::asio::co_spawn(pool.executor(0), answer(), boost::asio::use_future);
    const auto text = fmt::format("port {} of domain {}: {}, ", port.get(), xenpv::domid{5},
                                  to_string(xenpv::wire::xenbus_state::connected));
    pool.stop();
    pool.join();
    std::printf("%sran dry\n", text.c_str());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
