// ping_domain serve PEER | ping_domain ping PEER: sends an event to another domain and back.
//
// The server offers an unbound port and writes its number to a xenstore node that PEER can read.
// The client binds to this port, sends an event and waits for the reply. To try it without Xen:
//   xenpv-sim start --dir host --domains 2
//   xenpv-sim exec --dir host --domain 1 -- ./ping_domain serve 2 &
//   xenpv-sim exec --dir host --domain 2 -- ./ping_domain ping 1
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>
#include <xenpv/async/run_on.hpp>
#include <xenpv/async/runtime.hpp>
#include <xenpv/base/standard_streams.hpp>

namespace {

namespace asio = boost::asio;
using xenpv::domid;

/// A path relative to the server's home directory; guests may write below `data`.
constexpr auto node = "data/ping-port";

std::vector<xenpv::xen::store_permission> readable_by(domid owner, domid peer) {
  return {{.domain = owner}, {.domain = peer, .read = true}};
}

/// Runs on the thread of loop 0, where the port is bound, used and unbound.
asio::awaitable<void> answer_once(xenpv::async::runtime& runtime, domid peer) {
  auto& store = runtime.store();  // may be used from any thread
  auto port = runtime.loop(0).bind_unbound(peer);
  co_await store.write(node, std::to_string(raw(port.number())));
  const auto own = (co_await store.own_domid()).value();
  co_await store.set_permissions(node, readable_by(own, peer));
  std::printf("waiting on port %u\n", raw(port.number()));
  std::fflush(stdout);
  co_await port.wait();
  port.notify();
  (void)co_await store.remove(node);
}

asio::awaitable<void> serve(xenpv::async::runtime& runtime, domid peer) {
  co_await xenpv::async::run_on(runtime.executor(0), [&] { return answer_once(runtime, peer); });
}

asio::awaitable<void> ping(xenpv::async::runtime& runtime, domid peer) {
  auto& store = runtime.store();
  const auto path = co_await store.domain_path(peer) + "/" + node;
  const xenpv::port remote{static_cast<std::uint32_t>(std::stoul(co_await store.read(path)))};
  auto round_trip = [&]() -> asio::awaitable<void> {
    auto port = runtime.loop(0).bind_interdomain(peer, remote);
    const auto start = std::chrono::steady_clock::now();
    port.notify();
    co_await port.wait();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    std::printf("domain %u answered in %.1f us\n", raw(peer), took.count());
  };
  co_await xenpv::async::run_on(runtime.executor(0), round_trip);
}

}  // namespace

int main(int argc, char** argv) {
  xenpv::open_standard_streams();
  const std::string mode = argc == 3 ? argv[1] : "";
  if (mode != "serve" && mode != "ping") {
    std::fprintf(stderr, "usage: ping_domain serve|ping DOMAIN\n");
    return 2;
  }
  try {
    const domid peer{static_cast<std::uint16_t>(std::stoul(argv[2]))};
    xenpv::async::runtime runtime;
    runtime.run([&](auto& session) {
      return mode == "serve" ? serve(session, peer) : ping(session, peer);
    });
  } catch (const std::exception& e) {
    std::fprintf(stderr, "ping_domain: %s\n", e.what());
    return 1;
  }
}
