// The part of class disk that connects the rings to a frontend and releases them.
#include <fmt/format.h>

#include <boost/asio/post.hpp>

#include "blkback/backend_nodes.hpp"
#include "blkback/disk.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::blkback {
namespace {

using enum wire::xenbus_state;

}  // namespace

/// Ends the connection after an error that the frontend cannot correct. The change to Closing
/// notifies the frontend.
asio::awaitable<void> disk::fail(std::string reason) {
  co_await drop_rings();
  co_await report_error(std::move(reason));
  co_await publish({}, closing);
}

asio::awaitable<nodes> disk::read_frontend(const facts& now) {
  nodes out;
  auto read = [&](xen::store_transaction& store) {
    out.clear();
    add_nodes(store, now.frontend, "", out);
    for (std::uint32_t i = 0; i < plan_->config.max_queues; ++i) {
      const auto queue = fmt::format("queue-{}", i);
      if (out.contains(queue))
        add_nodes(store, fmt::format("{}/{}", now.frontend, queue), queue + "/", out);
    }
  };
  co_await runtime_.store().transact(read);
  co_return out;
}

asio::awaitable<void> disk::connect(const facts& now) {
  const auto frontend_nodes = co_await read_frontend(now);
  const auto keys = parse_frontend_keys(frontend_nodes, now.frontend, plan_->config);
  std::string problem;
  if (keys) {
    try {
      co_await take_over(*keys, now.frontend_domain);
    } catch (const failure& e) {
      problem = e.what();
    }
  } else {
    problem = keys.error().text;
  }
  if (!problem.empty()) {
    co_await fail(std::move(problem));
    co_return;
  }
  co_await publish(nodes_on_connected(plan_->config), connected);
  auto start = [](ring_server& ring) { ring.start(); };
  co_await for_each_ring(start);
  log().info("{}: connected, {} queue(s) of {} page(s){}", place_.directory, keys->queues.size(),
             keys->queues[0].refs.size(),
             keys->persistent && plan_->config.persistent ? ", persistent grants" : "");
}

asio::awaitable<void> disk::take_over(const frontend_keys& keys, domid frontend) {
  for (std::size_t i = 0; i < keys.queues.size(); ++i) {
    const auto cpu = medium_->is_single_threaded() ? 0 : i % runtime_.cpus();
    ring_options options;
    options.frontend = frontend;
    options.location = keys.queues[i];
    options.engine = {plan_->config, keys.persistent && plan_->config.persistent};
    options.faults = plan_->faults;
    options.report = [control = runtime_.control(), self = weak_from_this(),
                      i](const ring_status& status) {
      asio::post(control, [self, i, status] {
        if (const auto alive = self.lock()) alive->reported(i, status);
      });
    };
    const auto executor = runtime_.executor(cpu);
    auto make = [&] {
      return std::make_shared<ring_server>(executor, runtime_.loop(cpu), options,
                                           medium_->make_store(executor));
    };
    served_ring ring{cpu, nullptr, {}};
    ring.server = co_await async::call_on(executor, make);
    rings_.push_back(std::move(ring));
  }
}

/// Waits for the requests that are in flight in the store, then closes ports and unmaps pages. Does
/// not write to xenstore.
asio::awaitable<void> disk::drop_rings() {
  for (auto& ring : rings_)
    ring.status.idle = ring.server == nullptr;
  auto stop = [](ring_server& ring) { ring.stop(); };
  co_await for_each_ring(stop);
  for (auto& ring : rings_) {
    while (!ring.status.idle)
      co_await changed();
    auto drop = [&ring] { ring.server.reset(); };
    co_await async::call_on(runtime_.executor(ring.cpu), drop);
  }
  rings_.clear();
  // The disk may also have been woken for reasons other than the rings in the meantime, so check
  // again.
  dirty_ = true;
}

asio::awaitable<void> disk::for_each_ring(std::function<void(ring_server&)> use) {
  for (auto& ring : rings_) {
    if (!ring.server) continue;
    auto call = [&] { use(*ring.server); };
    co_await async::call_on(runtime_.executor(ring.cpu), call);
  }
}

void disk::reported(std::size_t index, const ring_status& status) {
  if (index >= rings_.size()) return;
  auto& known = rings_[index].status;
  if (status.halted && !known.halted)
    log().error(
        "{}: queue {} is no longer served: the frontend claims more requests than the ring holds",
        place_.directory, index);
  if (status.vanished && !vanished_) {
    log().warn("{}: vanishing (injected fault)", place_.directory);
    vanished_ = true;
  }
  known = status;
  wake();
}

}  // namespace xenpv::blkback
