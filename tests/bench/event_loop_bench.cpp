// Compares the Asio event loop with a bare poll() loop over libxenevtchn, in the same simulator and
// in the same run. The loop under test runs on CPU 0. The peer is a driver thread on CPU 1, which
// always uses the bare loop.
//   rate:  N ports at full speed; events per second that the loop under test handles
//   wake:  one port, one event at a time; time from the notification to the start of the handler
#include <fmt/format.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>

#include "bench/samples.hpp"
#include "xenpv/async/event_loop.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/xen/event_channel.hpp"

namespace {

using namespace xenpv;
using bench::clock;
using namespace std::chrono_literals;

constexpr int rounds = 9;
constexpr auto round_time = 400ms;

/// State that the driver and the loop under test share.
struct shared {
  std::vector<port> offered;
  std::atomic<int> ready{0};
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> sent_ns{0};
};

std::int64_t now_ns() {
  return clock::now().time_since_epoch().count();
}

/// Runs the peer: binds the offered ports, then replies to each event with an event until `stop`.
void drive(shared& state) {
  bench::pin_to_cpu(1);
  auto handle = xen::event_channel_handle::open();
  handle.set_nonblocking();
  std::vector<port> ports;
  for (const auto remote : state.offered)
    ports.push_back(handle.bind_interdomain(domid_self, remote));
  std::array<port, 64> batch{};
  std::size_t first_events = 0;
  while (first_events < ports.size()) {
    const auto got = handle.drain(batch);
    for (std::size_t i = 0; i < got; ++i)
      handle.unmask(batch[i]);
    first_events += got;
  }
  state.ready.store(1);
  for (const auto local : ports) {
    state.sent_ns.store(now_ns(), std::memory_order_relaxed);
    handle.notify(local);
  }
  while (!state.stop.load(std::memory_order_relaxed)) {
    pollfd ready{handle.descriptor(), POLLIN, 0};
    if (::poll(&ready, 1, 100) != 1) continue;
    const auto local = handle.pending();
    if (!local) continue;
    handle.unmask(*local);
    state.sent_ns.store(now_ns(), std::memory_order_relaxed);
    handle.notify(*local);
  }
}

struct outcome {
  double rate = 0;
  double p50 = 0;
  double p99 = 0;
};

/// Counts and times the events of the loop under test.
class meter {
 public:
  explicit meter(shared& state) : shared_(state) {}
  /// Counts one event. Returns true if the round is over.
  bool count() {
    const auto now = now_ns();
    latencies_.add(std::chrono::nanoseconds(now - shared_.sent_ns.load(std::memory_order_relaxed)));
    if (events_++ == 0) start_ = now;
    last_ = now;
    return now - start_ > std::chrono::nanoseconds(round_time).count();
  }
  outcome result() {
    const auto seconds = static_cast<double>(last_ - start_) / 1e9;
    return {static_cast<double>(events_) / seconds, latencies_.percentile(0.5),
            latencies_.percentile(0.99)};
  }

 private:
  shared& shared_;
  bench::samples latencies_;
  std::int64_t start_ = 0;
  std::int64_t last_ = 0;
  std::uint64_t events_ = 0;
};

outcome run_bare(std::size_t port_count) {
  shared state;
  auto handle = xen::event_channel_handle::open();
  for (std::size_t i = 0; i < port_count; ++i)
    state.offered.push_back(handle.bind_unbound(domid_self));
  std::thread driver(drive, std::ref(state));
  meter counted(state);
  for (bool over = false; !over;) {
    pollfd ready{handle.descriptor(), POLLIN, 0};
    if (::poll(&ready, 1, 1000) != 1) break;
    const auto local = handle.pending();
    over = counted.count();
    handle.notify(*local);
    handle.unmask(*local);
  }
  state.stop = true;
  driver.join();
  return counted.result();
}

outcome run_asio(std::size_t port_count) {
  shared state;
  asio::io_context context(1);
  async::event_loop loop(context);
  std::vector<async::bound_port> ports;
  for (std::size_t i = 0; i < port_count; ++i) {
    ports.push_back(loop.bind_unbound(domid_self));
    state.offered.push_back(ports.back().number());
  }
  meter counted(state);
  for (auto& local : ports)
    local.on_event([&] {
      if (state.stop.load(std::memory_order_relaxed)) return;
      if (counted.count()) {
        state.stop = true;
        loop.close();
        return;
      }
      local.notify();
    });
  std::thread driver(drive, std::ref(state));
  context.run();
  driver.join();
  return counted.result();
}

void compare(std::size_t port_count) {
  std::array<std::vector<double>, 3> bare;
  std::array<std::vector<double>, 3> asio;
  std::array<std::vector<double>, 3> ratio;
  for (int i = 0; i < rounds; ++i) {
    const auto bare_result = run_bare(port_count);
    const auto asio_result = run_asio(port_count);
    const std::array bare_figures = {bare_result.rate, bare_result.p50, bare_result.p99};
    const std::array asio_figures = {asio_result.rate, asio_result.p50, asio_result.p99};
    for (std::size_t k = 0; k < 3; ++k) {
      bare[k].push_back(bare_figures[k]);
      asio[k].push_back(asio_figures[k]);
      ratio[k].push_back(asio_figures[k] / bare_figures[k]);
    }
  }
  const auto row = [&](const char* name, std::size_t k, double scale, const char* unit) {
    fmt::print("{:>5} ports  {:<12} bare {:>9.1f} {}  asio {:>9.1f} {}  ratio {:.2f}\n", port_count,
               name, bench::median(bare[k]) / scale, unit, bench::median(asio[k]) / scale, unit,
               bench::median(ratio[k]));
  };
  row("events/s", 0, 1000, "k");
  if (port_count > 1) return;
  row("wake p50", 1, 1000, "us");
  row("wake p99", 2, 1000, "us");
}

}  // namespace

int main() {
  bench::pin_to_cpu(0);
  try {
    fmt::print(
        "event loop on CPU 0, peer on CPU 1; medians of {} interleaved rounds of {} ms\n"
        "goals: events/s ratio at least 0.90, wake p50 ratio at most 1.15\n",
        rounds, std::chrono::milliseconds(round_time).count());
    for (const std::size_t ports : {1U, 4U, 32U})
      compare(ports);
  } catch (const std::exception& problem) {
    fmt::print(stderr, "bench_event_loop: {}\n", problem.what());
    return 1;
  }
  return 0;
}
