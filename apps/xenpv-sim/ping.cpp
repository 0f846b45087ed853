// Ping between two domains over a shared page and an event channel: a minimal but complete example
// of the library. It runs in the simulator and on real Xen (--serve in domain 0, the client in a
// guest).
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "cli/value.hpp"
#include "commands.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/async/event_loop.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/xen/grant_map.hpp"
#include "xenpv/xen/grant_share.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::sim_app {
namespace {

using clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto peer_timeout = 30s;
constexpr auto slowest_ping = 10ms;  // twice the round-trip time on an emulated machine
constexpr std::uint32_t pings_max = 100'000'000;
constexpr std::uint32_t stop_request = ~std::uint32_t{0};
constexpr const char* ping_directory = "data/xenpv-ping";

struct ping_options {
  bool serve = false;
  domid peer{0};
  std::uint32_t count = 10000;
};

/// The shared page: the guest increments `request`, and the server copies it to `reply`.
struct ping_page {
  std::uint32_t request;
  std::uint32_t reply;
};

std::atomic_ref<std::uint32_t> request_of(std::span<std::byte> page) {
  return std::atomic_ref(reinterpret_cast<ping_page*>(page.data())->request);
}

std::atomic_ref<std::uint32_t> reply_of(std::span<std::byte> page) {
  return std::atomic_ref(reinterpret_cast<ping_page*>(page.data())->reply);
}

/// Blocks until the node has a value. Throws `failure` on timeout.
std::string await_node(xen::store& store, const std::string& path) {
  const auto deadline = clock::now() + peer_timeout;
  store.watch(path, "ping");
  for (;;) {
    while (store.next_event()) {
    }
    if (auto value = store.read_if_exists(path)) return *value;
    const auto remaining =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - clock::now()).count();
    pollfd ready{store.watch_descriptor(), POLLIN, 0};
    if (remaining <= 0 || ::poll(&ready, 1, static_cast<int>(remaining)) == 0)
      throw failure(errc::timed_out, "wait for " + path,
                    "start `xenpv-sim ping` in the other domain too");
  }
}

asio::awaitable<void> send_pings(async::bound_port& port, std::span<std::byte> page,
                                 std::uint32_t count,
                                 std::vector<std::chrono::nanoseconds>& times) {
  for (std::uint32_t i = 1; i <= count; ++i) {
    const auto start = clock::now();
    request_of(page).store(i, std::memory_order_release);
    port.notify();
    while (reply_of(page).load(std::memory_order_acquire) != i)
      co_await port.wait();
    times.push_back(clock::now() - start);
  }
  request_of(page).store(stop_request, std::memory_order_release);
  port.notify();
}

asio::awaitable<void> answer_pings(async::bound_port& port, std::span<std::byte> page) {
  for (;;) {
    const auto seen = request_of(page).load(std::memory_order_acquire);
    if (seen == stop_request) co_return;
    if (reply_of(page).load(std::memory_order_relaxed) != seen) {
      reply_of(page).store(seen, std::memory_order_release);
      port.notify();
    }
    co_await port.wait();
  }
}

void print_summary(std::ostream& out, domid self, domid peer,
                   std::vector<std::chrono::nanoseconds> times) {
  std::sort(times.begin(), times.end());
  const auto percentile = [&](double fraction) {
    return format_duration(times[static_cast<std::size_t>(fraction * double(times.size() - 1))]);
  };
  out << fmt::format(
      "ping: domain {} <-> domain {}: {} round trips over an event channel and a shared page: "
      "min {}, p50 {}, p99 {}, max {}\n",
      self, peer, times.size(), percentile(0), percentile(0.5), percentile(0.99), percentile(1));
}

/// Not a coroutine: g++ 12 warns of a buffer overrun if a coroutine constructs a string.
asio::awaitable<void> with_timeout(asio::awaitable<void> exchange, clock::duration timeout) {
  return async::with_deadline(std::move(exchange), timeout, "exchange events with the peer");
}

/// The setup blocks the CPU thread, which is acceptable because nothing else runs on that thread.
asio::awaitable<void> offer(async::event_loop& loop, const ping_options& options,
                            std::vector<std::chrono::nanoseconds>& times) {
  auto store = xen::store::open();
  auto page = xen::grant_sharer::open().share(options.peer, 1, true);
  auto port = loop.bind_unbound(options.peer);
  const std::string directory = ping_directory;
  store.transact([&](xen::store_transaction& transaction) {
    (void)transaction.remove(directory);
    transaction.write(directory + "/ref", fmt::format("{}", page.refs()[0]));
    transaction.write(directory + "/port", fmt::format("{}", port.number()));
  });
  auto pings = send_pings(port, page.bytes(), options.count, times);
  co_await with_timeout(std::move(pings), peer_timeout + options.count * slowest_ping);
  (void)store.remove(directory);
}

asio::awaitable<void> answer(async::event_loop& loop, const ping_options& options) {
  auto store = xen::store::open();
  const auto directory = store.domain_path(options.peer) + "/" + ping_directory;
  const auto number = [&](const std::string& node) {
    return static_cast<std::uint32_t>(
        parse_unsigned(await_node(store, directory + node), directory + node, 0, ~std::uint32_t{0})
            .value());
  };
  const auto remote = port{number("/port")};
  const grant_ref ref{number("/ref")};
  const auto page =
      xen::grant_mapper::open().map(options.peer, std::span(&ref, 1), xen::map_access::read_write);
  auto local = loop.bind_interdomain(options.peer, remote);
  auto answers = answer_pings(local, page.bytes());
  co_await with_timeout(std::move(answers), peer_timeout + pings_max * slowest_ping);
}

/// Runs `work` on the only CPU thread of a runtime. The runtime detects a save and restore of the
/// guest, after which the ports no longer work: waiting on a port then throws errc::resumed.
void run_with_loop(std::function<asio::awaitable<void>(async::event_loop&)> work) {
  async::runtime_options options;
  options.cpus = {async::allowed_cpus().front()};
  async::runtime runtime(std::move(options));
  runtime.run([&](async::runtime& self) -> asio::awaitable<void> {
    auto body = [&] { return work(self.loop(0)); };
    co_await async::run_on(self.executor(0), body);
  });
}

cli::exit_code ping(const ping_options& options, std::ostream& out) {
  std::vector<std::chrono::nanoseconds> times;
  run_with_loop([&](async::event_loop& loop) { return offer(loop, options, times); });
  print_summary(out, xen::store::open().own_domid().value_or(domid_self), options.peer,
                std::move(times));
  return cli::exit_code::ok;
}

cli::exit_code serve(const ping_options& options) {
  run_with_loop([&](async::event_loop& loop) { return answer(loop, options); });
  return cli::exit_code::ok;
}

}  // namespace

void add_ping(cli::app& app) {
  static ping_options options;
  auto& command = app.add_command("ping", "measure event-channel round trips to another domain");
  command
      .describe(
          "In a guest, without --serve, shares a page with the peer domain, offers it an event "
          "channel and measures round trips. In the peer domain, with --serve, replies. The two "
          "sides find each other through xenstore nodes below the guest's `data` node. On real "
          "Xen, run it with --serve in domain 0.")
      .flag("--serve", options.serve, "reply to the guest given by --peer")
      .option("--peer N", options.peer, "the other domain", cli::whole_number<domid>(0, 0x7FEF),
              {.by_default = "0"})
      .option("--count N", options.count, "number of round trips",
              cli::whole_number<std::uint32_t>(1, pings_max), {.by_default = "10000"})
      .action(
          [](std::ostream& out) { return options.serve ? serve(options) : ping(options, out); });
}

}  // namespace xenpv::sim_app
