#include "sim/raw_frontend.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <stdexcept>

namespace xenpv::sim {
namespace {

using enum wire::xenbus_state;
constexpr int time_limit_ms = 20'000;
constexpr std::size_t data_pages = 64;

void wait_readable(int descriptor, const std::string& event) {
  pollfd poll{descriptor, POLLIN, 0};
  if (::poll(&poll, 1, time_limit_ms) <= 0)
    throw std::runtime_error("timed out waiting for " + event);
}

}  // namespace

raw_frontend::raw_frontend(unsigned device)
    : store_(xen::store::open()),
      events_(xen::event_channel_handle::open()),
      sharer_(xen::grant_sharer::open()),
      front_(fmt::format("device/vbd/{}", device)),
      back_(store_.read(front_ + "/backend")),
      data_(sharer_.share(domid_0, data_pages, true)) {
  events_.set_nonblocking();
  store_.watch(back_, "back");
}

std::optional<std::string> raw_frontend::backend_node(const std::string& name) const {
  return store_.read_if_exists(back_ + "/" + name);
}

std::vector<std::string> raw_frontend::backend_nodes(const std::vector<std::string>& names) const {
  std::vector<std::string> out;
  for (const auto& name : names)
    if (const auto value = backend_node(name)) out.push_back(name + "=" + *value);
  return out;
}

void raw_frontend::wait_for_store() {
  wait_readable(store_.watch_descriptor(), "a change in the backend directory");
  while (store_.next_event()) {
  }
}

wire::xenbus_state raw_frontend::await(std::vector<wire::xenbus_state> states) {
  for (;;) {
    const auto now = wire::parse_xenbus_state(backend_node("state").value_or("0")).value();
    if (std::find(states.begin(), states.end(), now) != states.end()) return now;
    wait_for_store();
  }
}

void raw_frontend::await_node(const std::string& name, const std::string& value) {
  while (backend_node(name) != value)
    wait_for_store();
}

void raw_frontend::set_state(wire::xenbus_state state) {
  store_.write(front_ + "/state", fmt::format("{}", raw(state)));
}

void raw_frontend::write(const std::string& name, const std::string& value) {
  store_.write(front_ + "/" + name, value);
}

void raw_frontend::offer(unsigned queues, unsigned order, bool persistent) {
  write("protocol", std::string(wire::blkif_protocol_native));
  write("feature-persistent", persistent ? "1" : "0");
  if (order > 0) write("ring-page-order", fmt::format("{}", order));
  if (queues > 1) write("multi-queue-num-queues", fmt::format("{}", queues));
  for (unsigned i = 0; i < queues; ++i) {
    queues_.push_back(std::make_unique<ring_end>(sharer_.share(domid_0, 1U << order, true),
                                                 events_.bind_unbound(domid_0)));
    const auto& queue = *queues_.back();
    const auto prefix = queues > 1 ? fmt::format("queue-{}/", i) : "";
    for (std::size_t page = 0; page < queue.pages.refs().size(); ++page)
      write(order > 0 ? fmt::format("{}ring-ref{}", prefix, page) : prefix + "ring-ref",
            fmt::format("{}", queue.pages.refs()[page]));
    write(prefix + "event-channel", fmt::format("{}", queue.local));
  }
}

void raw_frontend::connect(unsigned queues, unsigned order, bool persistent) {
  await({init_wait});
  offer(queues, order, persistent);
  set_state(initialised);
  if (await({connected, closing, closed}) != connected)
    throw std::runtime_error("the backend rejected the connection");
  set_state(connected);
}

void raw_frontend::close() {
  set_state(closing);
  await({closing, closed});
  set_state(closed);
  await({closed});
  for (const auto& queue : queues_)
    events_.unbind(queue->local);
  queues_.clear();
  for (const auto* name :
       {"ring-ref", "ring-page-order", "multi-queue-num-queues", "queue-0", "queue-1",
        "event-channel", "protocol", "feature-persistent", "feature-large-sector-size"})
    (void)store_.remove(front_ + "/" + name);
}

std::byte* raw_frontend::page(std::size_t index) const {
  return data_.bytes().data() + index * page_size;
}

std::uint32_t raw_frontend::ref(std::size_t index) const {
  return raw(data_.refs()[index]);
}

void raw_frontend::put(const wire::blkif_request& request, std::size_t queue) {
  auto& end = *queues_[queue];
  end.ring.put(request);
  if (end.ring.publish()) events_.notify(end.local);
}

wire::blkif_response raw_frontend::await_response(std::size_t queue) {
  auto& end = *queues_[queue];
  for (;;) {
    const auto count = end.ring.available();
    if (!count) throw std::runtime_error("the response index is out of range");
    if (*count > 0) return end.ring.take();
    if (!end.ring.arm()) continue;
    wait_readable(events_.descriptor(), "a response");
    while (const auto pending = events_.pending())
      events_.unmask(*pending);
  }
}

int raw_frontend::transfer(wire::blkif_op op, std::uint64_t sector, std::size_t index,
                           std::size_t queue, std::uint8_t last_sect) {
  wire::blkif_request request{};
  request.operation = static_cast<std::uint8_t>(op);
  request.nr_segments = 1;
  request.id = next_id_++;
  request.sector_number = sector;
  request.seg[0] = {ref(index), 0, last_sect, 0};
  put(request, queue);
  const auto response = await_response(queue);
  if (response.id != request.id) throw std::runtime_error("response to another request");
  return response.status;
}

void raw_frontend::corrupt_request_index(std::uint32_t count) {
  auto& end = *queues_[0];
  reinterpret_cast<ring::ring_header*>(end.pages.bytes().data())->req_prod += count;
  events_.notify(end.local);
}

int raw_frontend::flush(wire::blkif_op op) {
  wire::blkif_request request{};
  request.operation = static_cast<std::uint8_t>(op);
  request.id = next_id_++;
  put(request);
  return await_response().status;
}

}  // namespace xenpv::sim
