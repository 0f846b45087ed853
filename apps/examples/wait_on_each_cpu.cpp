// wait_on_each_cpu: binds an event channel on each CPU and waits for an event there.
//
// Each channel connects the domain to itself, so no peer is needed. To try it without Xen:
//   xenpv-sim run -- ./wait_on_each_cpu
#include <cstdio>
#include <exception>
#include <xenpv/async/run_on.hpp>
#include <xenpv/async/runtime.hpp>
#include <xenpv/base/standard_streams.hpp>

namespace {

namespace asio = boost::asio;

/// Runs on the thread that owns `loop`; ports must be bound and awaited there.
asio::awaitable<void> wait_for_own_event(xenpv::async::event_loop& loop, std::size_t index) {
  auto receiver = loop.bind_unbound(xenpv::domid_self);
  auto sender = loop.bind_interdomain(xenpv::domid_self, receiver.number());
  sender.notify();
  co_await receiver.wait();
  std::printf("thread %zu: an event on port %u\n", index, raw(receiver.number()));
}

asio::awaitable<void> wait_on_each_cpu(xenpv::async::runtime& runtime) {
  for (std::size_t i = 0; i < runtime.cpus(); ++i)
    co_await xenpv::async::run_on(runtime.executor(i),
                                  [&, i] { return wait_for_own_event(runtime.loop(i), i); });
}

}  // namespace

int main() {
  xenpv::open_standard_streams();
  try {
    xenpv::async::runtime runtime;  // before any other thread: it starts the custodian
    runtime.run(wait_on_each_cpu);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "wait_on_each_cpu: %s\n", e.what());
    return 1;
  }
}
