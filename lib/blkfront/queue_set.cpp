#include "blkfront/queue_set.hpp"

#include <fmt/format.h>

#include <utility>

#include "xenpv/async/run_on.hpp"

namespace xenpv::blkfront {

using async::call_on;

namespace {

bool is_out_of_pages(const failure& problem) {
  return problem.code() == std::errc::no_space_on_device || problem.code() == errc::limit_reached;
}

}  // namespace

queue_set::queue_set(async::guest_session& session, resource_share& resources)
    : session_(session), resources_(resources) {}

void queue_set::make(unsigned count, const queue_options& defaults, const queue_events& events) {
  clear();
  const auto cpus = resources_.take_cpus(count);
  for (unsigned i = 0; i < count; ++i) {
    auto options = defaults;
    options.name = fmt::format("{} queue {}", defaults.name, i);
    const auto cpu = cpus[i];
    queues_.push_back(std::make_shared<frontend_queue>(session_.context(cpu), session_.loop(cpu), i,
                                                       std::move(options), events));
  }
}

void queue_set::clear() {
  queues_.clear();
  resources_.give_cpus_back();
}

asio::awaitable<std::optional<std::vector<queue_transport>>> queue_set::open(
    const device_facts& device, const layout& plan) {
  std::vector<queue_transport> transports;
  sector_locks_ = std::make_shared<sector_locks>(plan.queues);
  for (unsigned i = 0; i < plan.queues; ++i) {
    const auto queue = queues_[i];
    sector_locks_->add(queue);
    auto open = [&] { return queue->open_transport(device.backend_domain, plan, !device.trusted); };
    try {
      transports.push_back(co_await call_on(queue->get_executor(), open));
    } catch (const failure& problem) {
      if (!is_out_of_pages(problem) || plan.pages() <= least_pages) throw;
      co_return std::nullopt;
    }
  }
  co_return transports;
}

asio::awaitable<void> queue_set::connect(const backend_properties& properties, const layout& plan,
                                         std::uint16_t handle) {
  for (unsigned i = 0; i < plan.queues; ++i) {
    const auto queue = queues_[i];
    auto connect = [&] { queue->connect(properties, plan, handle, sector_locks_); };
    co_await call_on(queue->get_executor(), connect);
  }
  for (std::size_t i = plan.queues; i < queues_.size(); ++i) {
    const auto queue = queues_[i];
    auto forward = [&] { queue->forward_to(queues_[i % plan.queues], properties.shape); };
    co_await call_on(queue->get_executor(), forward);
  }
}

asio::awaitable<std::size_t> queue_set::suspend(bool keep_ports, connection_loss loss) {
  std::size_t unanswered = 0;
  auto suspend = [&](frontend_queue& queue) { unanswered += queue.suspend(keep_ports, loss); };
  co_await for_each(suspend);
  co_return unanswered;
}

asio::awaitable<bool> queue_set::drain(std::chrono::nanoseconds limit) {
  bool drained = true;
  const auto until = std::chrono::steady_clock::now() + limit;
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    const auto queue = queues_[i];
    auto drain = [&]() -> asio::awaitable<void> {
      const bool empty = co_await queue->drain(until - std::chrono::steady_clock::now());
      drained = drained && empty;
    };
    co_await async::run_on(queue->get_executor(), drain);
  }
  co_return drained;
}

asio::awaitable<std::vector<queue_statistics>> queue_set::statistics() {
  std::vector<queue_statistics> out;
  auto take = [&](frontend_queue& queue) { out.push_back(queue.statistics()); };
  co_await for_each(take);
  co_return out;
}

}  // namespace xenpv::blkfront
