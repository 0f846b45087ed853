// Measures the notify-to-wake latency between two processes: compares a ping-pong over an event
// channel with a ping-pong over a pair of eventfds. Both use the same loop (poll, read, write), in
// interleaved rounds.
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "bench/samples.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/xen/event_channel.hpp"

namespace {

using namespace xenpv;
using bench::clock;

constexpr int rounds = 11;
constexpr int pings = 20'000;

void wait_readable(int fd) {
  pollfd ready{fd, POLLIN, 0};
  if (::poll(&ready, 1, 10'000) != 1) throw failure(errc::timed_out, "wait for the other process");
}

class end {
 public:
  virtual void send() = 0;
  virtual void receive() = 0;

 protected:
  ~end() = default;
};

class eventfd_end final : public end {
 public:
  eventfd_end(int from_peer, int to_peer) : from_peer_(from_peer), to_peer_(to_peer) {}
  void send() override {
    const std::uint64_t one = 1;
    if (::write(to_peer_, &one, sizeof one) != sizeof one) throw_errno("write an eventfd");
  }
  void receive() override {
    wait_readable(from_peer_);
    std::uint64_t count = 0;
    if (::read(from_peer_, &count, sizeof count) != sizeof count) throw_errno("read an eventfd");
  }

 private:
  int from_peer_;
  int to_peer_;
};

class channel_end final : public end {
 public:
  void offer() { port_ = handle_.bind_unbound(domid_self); }
  void bind(port remote) {
    port_ = handle_.bind_interdomain(domid_self, remote);
    receive();  // the initial event, which Xen raises
  }
  [[nodiscard]] port number() const { return port_; }
  void send() override { handle_.notify(port_); }
  void receive() override {
    wait_readable(handle_.descriptor());
    handle_.unmask(*handle_.pending());
  }

 private:
  xen::event_channel_handle handle_ = xen::event_channel_handle::open();
  port port_{};
};

void answer(end& peer, int count) {
  for (int i = 0; i < count; ++i) {
    peer.receive();
    peer.send();
  }
}

bench::samples ping(end& peer) {
  bench::samples times;
  for (int i = 0; i < pings; ++i) {
    const auto start = clock::now();
    peer.send();
    peer.receive();
    times.add(clock::now() - start);
  }
  return times;
}

struct wires {
  int port_pipe[2];
  int there = ::eventfd(0, EFD_CLOEXEC);
  int back = ::eventfd(0, EFD_CLOEXEC);
};

[[noreturn]] void child(const wires& w) {
  bench::pin_to_cpu(1);
  channel_end channel;
  port offered{};
  if (::read(w.port_pipe[0], &offered, sizeof offered) != sizeof offered) ::_exit(1);
  channel.bind(offered);
  channel.send();
  eventfd_end events(w.there, w.back);
  for (int i = 0; i < rounds; ++i) {
    answer(events, pings);
    answer(channel, pings);
  }
  ::_exit(0);
}

int run() {
  wires w;
  if (::pipe(w.port_pipe) != 0) throw_errno("make a pipe");
  if (::fork() == 0) child(w);
  bench::pin_to_cpu(0);
  channel_end channel;
  channel.offer();
  const auto offered = channel.number();
  if (::write(w.port_pipe[1], &offered, sizeof offered) < 0) throw_errno("write a pipe");
  channel.receive();
  eventfd_end events(w.back, w.there);
  std::vector<double> base;
  std::vector<double> ours;
  std::vector<double> ratios;
  for (int i = 0; i < rounds; ++i) {
    base.push_back(ping(events).percentile(0.5));
    ours.push_back(ping(channel).percentile(0.5));
    ratios.push_back(ours.back() / base.back());
  }
  int status = 0;
  ::wait(&status);
  fmt::print(
      "notify between two processes, round trip p50: event channel {:.1f} us, eventfd {:.1f} us, "
      "ratio {:.2f} (median of {} interleaved rounds of {}; goal: at most 2.00)\n",
      bench::median(ours) / 1000, bench::median(base) / 1000, bench::median(ratios), rounds, pings);
  return status == 0 ? 0 : 1;
}

}  // namespace

int main() {
  try {
    return run();
  } catch (const std::exception& problem) {
    fmt::print(stderr, "bench_notify: {}\n", problem.what());
    return 1;
  }
}
