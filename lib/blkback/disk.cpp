#include "blkback/disk.hpp"

#include <fmt/format.h>

#include <utility>

#include "async/nursery.hpp"
#include "blkback/backend_nodes.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::blkback {
namespace {

using enum wire::xenbus_state;

bool is_connection(wire::xenbus_state frontend) {
  return frontend == initialised || frontend == connected;
}

}  // namespace

disk::disk(async::runtime& runtime, disk_place place, medium_source media, bool restarted)
    : runtime_(runtime),
      place_(std::move(place)),
      media_(std::move(media)),
      restarted_(restarted),
      change_(runtime.control()) {}

disk::~disk() = default;

void disk::wake() {
  dirty_ = true;
  change_.notify();
}

asio::awaitable<void> disk::changed() {
  while (!dirty_)
    co_await change_.wait();
  dirty_ = false;
}

asio::awaitable<void> disk::announced() {
  while (!announce_done_)
    co_await change_.wait();
}

asio::awaitable<void> disk::follow_frontend(std::string path) {
  auto watch = co_await runtime_.store().watch(std::move(path));
  for (;;) {
    co_await watch.next();
    wake();
  }
}

asio::awaitable<void> disk::serve() {
  async::nursery children(runtime_.control());
  auto body = [&]() -> asio::awaitable<void> {
    const auto first = co_await read_facts();
    if (!first) co_return;
    frontend_is_stale_ = restarted_ && is_connection(first->frontend_state);
    children.spawn(follow_frontend(first->frontend + "/state"));
    co_await run_until_gone();
  };
  auto clean_up = [&]() -> asio::awaitable<void> {
    announce_done_ = true;
    children.cancel();
    co_await children.join();
    co_await drop_rings();
    change_.notify();
  };
  co_await async::finally(body(), clean_up);
}

asio::awaitable<void> disk::run_until_gone() {
  // Not `while (co_await advance())`: g++ 12 mishandles temporaries in such a condition.
  for (;;) {
    const bool exists = co_await advance();
    if (!exists) co_return;
    co_await changed();
  }
}

/// Performs all steps that are currently possible. Returns false if the device no longer exists.
asio::awaitable<bool> disk::advance() {
  for (;;) {
    const auto now = co_await read_facts();
    if (!now) co_return false;
    if (now->state == initialising && own_ != initialising) {
      // The toolstack recreated the directory (after a restore), so discard the old state.
      co_await drop_rings();
      own_ = initialising;
      vanished_ = false;
      plan_.reset();
    }
    if (!plan_) co_await open_medium();
    if (!plan_) co_return true;
    remember(*now);
    co_await apply_changes(*now);
    if (!plan_) continue;
    if (vanished_) {
      if (!rings_.empty()) co_await drop_rings();
      co_return true;
    }
    const auto next = next_step(plan_->config.personality(), make_situation(*now));
    if (next == step::wait) co_return true;
    const bool exists = co_await carry_out(next, *now);
    if (!exists) co_return false;
  }
}

/// Records conditions that are visible in xenstore only briefly.
void disk::remember(const facts& now) {
  if (now.state == closing && own_ != closing) asked_to_close_ = true;
  if (!is_connection(now.frontend_state)) frontend_is_stale_ = false;
}

situation disk::make_situation(const facts& now) const {
  situation out;
  out.own = own_;
  out.frontend = now.frontend_state;
  out.online = find(now.directory, "online") == "1";
  out.asked_to_close = asked_to_close_;
  out.medium_ready = medium_ != nullptr;
  out.frontend_is_stale = frontend_is_stale_;
  return out;
}

asio::awaitable<bool> disk::carry_out(step next, const facts& now) {
  log().debug("{}: frontend {}, backend {}: {}", place_.directory,
              wire::to_string(now.frontend_state), wire::to_string(own_), to_string(next));
  switch (next) {
    case step::wait:
      break;
    case step::announce:
      asked_to_close_ = false;
      co_await publish(nodes_before_init_wait(plan_->config), init_wait);
      announce_done_ = true;
      change_.notify();
      break;
    case step::connect:
      co_await connect(now);
      break;
    case step::begin_closing:
      co_await publish({}, closing);
      break;
    case step::finish_closing:
      co_await drop_rings();
      co_await publish({}, closed);
      break;
    case step::leave:
      co_return false;
  }
  co_return true;
}

/// Applies the changes that the toolstack may make while the disk is served: faults, size and
/// commands.
asio::awaitable<void> disk::apply_changes(const facts& now) {
  const std::string fault_text(find(now.directory, "xenpv/fault").value_or(""));
  if (fault_text != fault_text_) {
    fault_text_ = fault_text;
    if (const auto faults = parse_disk_faults(fault_text)) {
      plan_->faults = *faults;
      auto set = [faults = *faults](ring_server& ring) { ring.set_faults(faults); };
      co_await for_each_ring(set);
      co_await runtime_.store().write(node("xenpv/applied-fault"), fault_text);
    } else {
      co_await report_error(faults.error().text);
    }
  }
  const std::string size_text(find(now.directory, "xenpv/size").value_or(""));
  if (size_text != size_text_) {
    size_text_ = size_text;
    const auto size = parse_unsigned(size_text, "node xenpv/size", 1, std::uint64_t{1} << 60);
    if (size)
      co_await resize(*size);
    else
      co_await report_error(size.error().text);
  }
  const auto text = find(now.directory, "xenpv/command");
  if (!text) co_return;
  const auto command = parse_disk_command(*text);
  if (command) {
    co_await restart(now);
    if (command->action == disk_command::verb::power_cut && medium_)
      medium_->power_cut(command->seed);
  } else {
    co_await report_error(command.error().text);
  }
  // Remove the node last: the toolstack may wait for its removal.
  co_await runtime_.store().remove(node("xenpv/command"));
}

/// Simulates a crash and restart of the backend domain: does not notify the frontend, and keeps
/// only the medium.
asio::awaitable<void> disk::restart(const facts& now) {
  co_await drop_rings();
  vanished_ = false;
  frontend_is_stale_ = is_connection(now.frontend_state);
  // Use one transaction, so that a frontend never observes a connected backend whose nodes are
  // missing.
  auto forget = [&](xen::store_transaction& store) {
    for (const auto name : published_names())
      (void)store.remove(node(name));
    store.write(node("state"), fmt::format("{}", raw(initialising)));
  };
  co_await runtime_.store().transact(forget);
  own_ = initialising;
  if (!medium_) plan_.reset();
}

asio::awaitable<void> disk::resize(std::uint64_t size) {
  auto& config = plan_->config;
  if (!medium_) co_return;
  const bool changes = size != config.size;
  std::string problem;
  try {
    if (size % config.sector_size != 0)
      throw failure(errc::invalid_argument, fmt::format("change the size to {} bytes", size),
                    fmt::format("expected a multiple of {}", config.sector_size));
    // Grow the medium before the rings, but shrink it after them: a request must not exceed the
    // medium.
    if (size > config.size) medium_->resize(size);
    auto set = [size](ring_server& ring) { ring.set_size(size); };
    co_await for_each_ring(set);
    if (size < config.size) medium_->resize(size);
    config.size = size;
  } catch (const failure& e) {
    problem = e.what();
  }
  if (!problem.empty()) {
    co_await report_error(problem);
    co_return;
  }
  co_await runtime_.store().write(node("xenpv/applied-size"), fmt::format("{}", size));
  const bool one_by_one = config.personality().resize == resize_signal::sectors_then_state;
  if (own_ != connected || !changes) co_return;
  if (one_by_one)
    co_await write_one_by_one(nodes_on_resize(config));
  else
    co_await publish(nodes_on_resize(config), connected);
}

}  // namespace xenpv::blkback
