// All queues of one frontend, each on its CPU: what the connection, on the control thread, has done
// to every one of them. One call here is one hop to each CPU and back, in the queues' order.
//
// On the control thread, owned by one connection. The queues themselves are shared with the
// frontend's users and may outlive it. A call goes to every queue, also after one of them threw;
// the first error is rethrown. Calls that unbind ports leave it to the caller to settle a resume
// first (xen/custodian.hpp).
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "blkfront/device_nodes.hpp"
#include "blkfront/device_resources.hpp"
#include "blkfront/frontend_queue.hpp"
#include "blkfront/layout.hpp"
#include "xenpv/async/call_on.hpp"
#include "xenpv/async/runtime.hpp"

namespace xenpv::blkfront {

class queue_set {
 public:
  queue_set(async::runtime& runtime, resource_share& resources);

  /// Makes `count` queues on the CPUs with the fewest queues. `events` as in frontend_queue;
  /// `defaults.name` is the device's.
  void make(unsigned count, const queue_options& defaults, const queue_events& events);
  /// Forgets them. They are closed.
  void clear();
  [[nodiscard]] std::size_t size() const noexcept { return queues_.size(); }
  [[nodiscard]] frontend_queue& queue(std::size_t index) noexcept { return *queues_[index]; }

  /// A transport for each queue of `plan`. nullopt: so many pages are not free; then, as after an
  /// exception, some may have theirs: suspend() or close().
  [[nodiscard]] async::asio::awaitable<std::optional<std::vector<queue_transport>>> open(
      const device_facts& device, const layout& plan);
  /// Starts those with a transport; the others forward their requests to these.
  [[nodiscard]] async::asio::awaitable<void> connect(const backend_properties& properties,
                                                     const layout& plan, std::uint16_t handle);
  /// Returns how many requests the lost backend had not answered.
  [[nodiscard]] async::asio::awaitable<std::size_t> suspend(bool keep_ports, connection_loss loss);
  [[nodiscard]] async::asio::awaitable<void> fail_queued(error why);
  [[nodiscard]] async::asio::awaitable<void> shut(error why);
  [[nodiscard]] async::asio::awaitable<void> fail(error why);
  /// False: some requests are still unanswered after `limit`, which is one for all queues.
  [[nodiscard]] async::asio::awaitable<bool> drain(std::chrono::nanoseconds limit);
  [[nodiscard]] async::asio::awaitable<void> set_geometry(blk::geometry shape);
  [[nodiscard]] async::asio::awaitable<void> close();
  [[nodiscard]] async::asio::awaitable<std::vector<queue_statistics>> statistics();

 private:
  /// Calls `function(queue)` for each on its CPU.
  template <class Function>
  [[nodiscard]] async::asio::awaitable<void> for_each(Function function) {
    std::exception_ptr first;
    for (std::size_t i = 0; i < queues_.size(); ++i) {
      const auto queue = queues_[i];
      auto call = [&] { function(*queue); };
      try {
        co_await async::call_on(queue->executor(), call);
      } catch (...) {
        if (!first) first = std::current_exception();
      }
    }
    if (first) std::rethrow_exception(first);
  }

  async::runtime& runtime_;
  resource_share& resources_;
  std::vector<std::shared_ptr<frontend_queue>> queues_;
  std::shared_ptr<sector_locks> sector_locks_;
};

}  // namespace xenpv::blkfront
