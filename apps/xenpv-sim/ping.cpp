// Two programs in two domains, an event channel and a shared page between them: the smallest
// complete use of the library, on the simulator or on real Xen (the guest side in a guest, --serve
// in domain 0).
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "commands.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/async/event_loop.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/cli/value.hpp"
#include "xenpv/xen/grant_map.hpp"
#include "xenpv/xen/grant_share.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::sim_app {
namespace {

using clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto peer_patience = 30s;
constexpr auto slowest_ping = 10ms;  // a round trip on an emulated machine takes half of that
constexpr std::uint32_t pings_max = 100'000'000;
constexpr std::uint32_t goodbye = ~std::uint32_t{0};
constexpr const char* folder = "data/xenpv-ping";

struct ping_words {
  bool serve = false;
  domid peer{0};
  std::uint32_t count = 10000;
};

/// The shared page: the guest counts up, the server repeats.
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

/// Blocks until the node has a value.
std::string await_node(xen::store& store, const std::string& path) {
  const auto until = clock::now() + peer_patience;
  store.watch(path, "ping");
  for (;;) {
    while (store.next_event()) {
    }
    if (auto value = store.read_if_exists(path)) return *value;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - clock::now()).count();
    pollfd ready{store.watch_descriptor(), POLLIN, 0};
    if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) == 0)
      throw failure(errc::timed_out, "wait for " + path,
                    "start `xenpv-sim ping` in the other domain too");
  }
}

async::asio::awaitable<void> send_pings(async::bound_port& port, std::span<std::byte> page,
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
  request_of(page).store(goodbye, std::memory_order_release);
  port.notify();
}

async::asio::awaitable<void> answer_pings(async::bound_port& port, std::span<std::byte> page) {
  for (;;) {
    const auto seen = request_of(page).load(std::memory_order_acquire);
    if (seen == goodbye) co_return;
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
  const auto at = [&](double share) {
    return format_duration(times[static_cast<std::size_t>(share * double(times.size() - 1))]);
  };
  out << fmt::format(
      "ping: domain {} <-> domain {}: {} round trips over an event channel and a shared page: "
      "min {}, p50 {}, p99 {}, max {}\n",
      self, peer, times.size(), at(0), at(0.5), at(0.99), at(1));
}

/// No coroutine: g++ 12 sees an overrun where one makes a string.
async::asio::awaitable<void> in_time(async::asio::awaitable<void> exchange, clock::duration limit) {
  return async::with_deadline(std::move(exchange), limit, "exchange events with the peer");
}

/// Blocks the CPU thread while it sets things up, which nobody else wants for anything.
async::asio::awaitable<void> offer(async::event_loop& loop, const ping_words& words,
                                   std::vector<std::chrono::nanoseconds>& times) {
  auto store = xen::store::open();
  auto page = xen::grant_sharer::open().share(words.peer, 1, true);
  auto port = loop.bind_unbound(words.peer);
  const std::string home = folder;
  store.transact([&](xen::store_transaction& t) {
    (void)t.remove(home);
    t.write(home + "/ref", fmt::format("{}", page.refs()[0]));
    t.write(home + "/port", fmt::format("{}", port.number()));
  });
  auto pings = send_pings(port, page.bytes(), words.count, times);
  co_await in_time(std::move(pings), peer_patience + words.count * slowest_ping);
  (void)store.remove(home);
}

async::asio::awaitable<void> answer(async::event_loop& loop, const ping_words& words) {
  auto store = xen::store::open();
  const auto home = store.domain_path(words.peer) + "/" + folder;
  const auto number = [&](const std::string& node) {
    return static_cast<std::uint32_t>(
        parse_unsigned(await_node(store, home + node), home + node, 0, ~std::uint32_t{0}).value());
  };
  const auto remote = port{number("/port")};
  const grant_ref ref{number("/ref")};
  const auto page =
      xen::grant_mapper::open().map(words.peer, std::span(&ref, 1), xen::map_access::read_write);
  auto local = loop.bind_interdomain(words.peer, remote);
  auto answers = answer_pings(local, page.bytes());
  co_await in_time(std::move(answers), peer_patience + pings_max * slowest_ping);
}

/// On the one CPU thread of a runtime, which notices when the guest is saved and restored: its
/// ports are dead then, and waiting for one throws errc::resumed.
void run_with_loop(std::function<async::asio::awaitable<void>(async::event_loop&)> work) {
  async::runtime_options how;
  how.cpus = {async::allowed_cpus().front()};
  async::runtime on(std::move(how));
  on.run([&](async::runtime& self) -> async::asio::awaitable<void> {
    auto body = [&] { return work(self.loop(0)); };
    co_await async::run_on(self.executor(0), body);
  });
}

cli::exit_code ping(const ping_words& words, std::ostream& out) {
  std::vector<std::chrono::nanoseconds> times;
  run_with_loop([&](async::event_loop& loop) { return offer(loop, words, times); });
  print_summary(out, xen::store::open().own_domid().value_or(domid_self), words.peer,
                std::move(times));
  return cli::exit_code::ok;
}

cli::exit_code serve(const ping_words& words) {
  run_with_loop([&](async::event_loop& loop) { return answer(loop, words); });
  return cli::exit_code::ok;
}

}  // namespace

void add_ping(cli::app& app) {
  static ping_words words;
  auto& command = app.add_command("ping", "exchange events and bytes with another domain");
  command
      .describe(
          "In a guest: shares a page with the peer domain, offers it an event channel and measures "
          "round trips. With "
          "--serve, in the peer domain: answers. The two find each other in xenstore, below the "
          "guest's data node. "
          "Works on real Xen too, where --serve runs in domain 0.")
      .flag("--serve", words.serve, "answer the guest named by --peer")
      .option("--peer N", words.peer, "the other domain", cli::whole_number<domid>(0, 0x7FEF),
              {.by_default = "0"})
      .option("--count N", words.count, "round trips",
              cli::whole_number<std::uint32_t>(1, pings_max), {.by_default = "10000"})
      .action([](std::ostream& out) { return words.serve ? serve(words) : ping(words, out); });
}

}  // namespace xenpv::sim_app
