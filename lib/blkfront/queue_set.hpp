// All queues of one frontend, each on its own CPU. A call from the control thread runs on every
// queue's CPU, in index order.
//
// Used on the control thread; owned by one connection. The queues are shared with the frontend's
// users and may outlive this object. A call visits every queue even if one throws, and then
// rethrows the first error. The caller must check for a resume before calls that unbind ports
// (xen/custodian.hpp).
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include "blkfront/device_nodes.hpp"
#include "blkfront/device_resources.hpp"
#include "blkfront/frontend_queue.hpp"
#include "blkfront/layout.hpp"
#include "xenpv/async/guest_session.hpp"
#include "xenpv/async/run_on.hpp"

namespace xenpv::blkfront {

class queue_set {
 public:
  queue_set(async::guest_session& session, resource_share& resources);

  /// Creates `count` queues on the CPUs with the fewest queues. `events` is passed to each
  /// frontend_queue; `defaults.name` is the device's name.
  void make(unsigned count, const queue_options& defaults, const queue_events& events);
  /// Removes all queues, which must be closed.
  void clear();
  [[nodiscard]] std::size_t size() const noexcept { return queues_.size(); }
  [[nodiscard]] frontend_queue& queue(std::size_t index) noexcept { return *queues_[index]; }

  /// Opens a transport for each queue of `plan`. Returns nullopt if too few pages are free. After
  /// nullopt or an exception, some queues may have a transport: call suspend(), or close their
  /// transports.
  [[nodiscard]] asio::awaitable<std::optional<std::vector<queue_transport>>> open(
      const device_facts& device, const layout& plan);
  /// Starts the queues with a transport; the other queues forward their requests to them.
  [[nodiscard]] asio::awaitable<void> connect(const backend_properties& properties,
                                              const layout& plan, std::uint16_t handle);
  /// Returns the number of requests that the lost backend left unanswered.
  [[nodiscard]] asio::awaitable<std::size_t> suspend(bool keep_ports, connection_loss loss);
  /// Returns false if requests are still outstanding after `limit`, which applies to all queues
  /// together.
  [[nodiscard]] asio::awaitable<bool> drain(std::chrono::nanoseconds limit);
  [[nodiscard]] asio::awaitable<std::vector<queue_statistics>> statistics();

  /// Calls a member of frontend_queue for each queue.
  template <class Member, class... Arguments>
  [[nodiscard]] asio::awaitable<void> call_all(Member member, const Arguments&... arguments) {
    return for_each([=](frontend_queue& queue) { (queue.*member)(arguments...); });
  }

 private:
  /// Calls `function(queue)` for each queue on its CPU.
  template <class Function>
  [[nodiscard]] asio::awaitable<void> for_each(Function function) {
    std::exception_ptr first;
    for (std::size_t i = 0; i < queues_.size(); ++i) {
      const auto queue = queues_[i];
      auto call = [&] { function(*queue); };
      try {
        co_await async::call_on(queue->get_executor(), call);
      } catch (...) {
        if (!first) first = std::current_exception();
      }
    }
    if (first) std::rethrow_exception(first);
  }

  async::guest_session& session_;
  resource_share& resources_;
  std::vector<std::shared_ptr<frontend_queue>> queues_;
  std::shared_ptr<sector_locks> sector_locks_;
};

}  // namespace xenpv::blkfront
