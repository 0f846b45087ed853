// Somebody else's program: names something of every room, so that a missing header, library or
// dependency shows, and does what works on any machine.
#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>
#include <cstdio>
#include <exception>

#include "xenpv/async/cpu_pool.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/async/event_loop.hpp"
#include "xenpv/base/parse.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/wire/xenbus.hpp"
#include "xenpv/xen/event_channel.hpp"
#include "xenpv/xen/guest.hpp"

namespace {

boost::asio::awaitable<xenpv::port> answer() {
  co_return xenpv::port{7};
}

/// Never called on a machine without Xen; linking it needs libxenevtchn.
[[maybe_unused]] void open_channels(boost::asio::io_context& context) {
  const xenpv::async::event_loop loop(context);
}

}  // namespace

int main(int argc, char**) {
  try {
    const auto facts = xenpv::xen::read_guest_facts();
    if (facts.devices.empty()) return 3;
    const unsigned cpus[] = {xenpv::async::allowed_cpus().front()};
    xenpv::async::cpu_pool pool(cpus);
    if (argc > 99) open_channels(pool.context(0));
    auto port = boost::asio::co_spawn(pool.executor(0), answer(), boost::asio::use_future);
    const auto text = fmt::format("port {} of domain {}: {}, {}, ", port.get(), xenpv::domid{5},
                                  to_string(xenpv::wire::xenbus_state::connected),
                                  xenpv::format_size(xenpv::parse_size("256M", "size").value()));
    pool.stop();
    pool.join();
    std::printf("%sran dry\n", text.c_str());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
