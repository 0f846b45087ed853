#include "blkback/disk.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "blkback/backend_nodes.hpp"
#include "xenpv/async/nursery.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::blkback {
namespace {

namespace asio = async::asio;
using enum wire::xenbus_state;

bool is_connection(wire::xenbus_state frontend) {
  return frontend == initialised || frontend == connected;
}

}  // namespace

disk::disk(async::runtime& on, disk_place place, medium_source media, bool restarted)
    : runtime_(on),
      place_(std::move(place)),
      media_(std::move(media)),
      restarted_(restarted),
      change_(on.control(), asio::steady_timer::time_point::max()) {}

disk::~disk() = default;

void disk::wake() {
  dirty_ = true;
  change_.cancel();
}

asio::awaitable<void> disk::changed() {
  while (!dirty_) {
    auto [ended] = co_await change_.async_wait(asio::as_tuple(asio::use_awaitable));
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) throw std::system_error(ended);
  }
  dirty_ = false;
}

asio::awaitable<void> disk::announced() {
  while (!settled_) {
    auto [ended] = co_await change_.async_wait(asio::as_tuple(asio::use_awaitable));
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) throw std::system_error(ended);
  }
}

asio::awaitable<void> disk::follow_frontend(std::string path) {
  auto watch = co_await runtime_.store().watch(std::move(path));
  for (;;) {
    co_await watch.next();
    wake();
  }
}

asio::awaitable<void> disk::serve() {
  std::exception_ptr error;
  async::nursery children(runtime_.control());
  try {
    const auto first = co_await read_facts();
    if (first) {
      frontend_is_stale_ = restarted_ && is_connection(first->frontend_state);
      children.spawn(follow_frontend(first->frontend + "/state"));
      co_await look_until_gone();
    }
  } catch (...) {
    error = std::current_exception();
  }
  // The rings go in any case, whoever asked for the end.
  co_await asio::this_coro::reset_cancellation_state();
  settled_ = true;
  children.cancel();
  co_await children.join();
  co_await drop_rings();
  change_.cancel();
  if (error) std::rethrow_exception(error);
}

asio::awaitable<void> disk::look_until_gone() {
  // Not `while (co_await look())`: g++ 12 mixes up the temporaries of such a condition.
  for (;;) {
    const bool goes_on = co_await look();
    if (!goes_on) co_return;
    co_await changed();
  }
}

/// Does all there is to do now. False: the device is gone.
asio::awaitable<bool> disk::look() {
  for (;;) {
    const auto now = co_await read_facts();
    if (!now) co_return false;
    if (now->state == initialising && own_ != initialising) {
      // The toolstack made the directory anew (a restore): nothing that was holds any more.
      co_await drop_rings();
      own_ = initialising;
      vanished_ = false;
      plan_.reset();
    }
    if (!plan_) co_await open_medium();
    if (!plan_) co_return true;
    note(*now);
    co_await obey(*now);
    if (!plan_) continue;
    if (vanished_) {
      if (!rings_.empty()) co_await drop_rings();
      co_return true;
    }
    const auto what = next_step(plan_->config.habits(), judge(*now));
    if (what == step::wait) co_return true;
    const bool goes_on = co_await carry_out(what, *now);
    if (!goes_on) co_return false;
  }
}

/// Keeps what is not in the nodes for long.
void disk::note(const facts& now) {
  if (now.state == closing && own_ != closing) asked_to_close_ = true;
  if (!is_connection(now.frontend_state)) frontend_is_stale_ = false;
}

situation disk::judge(const facts& now) const {
  situation out;
  out.own = own_;
  out.frontend = now.frontend_state;
  out.online = find(now.directory, "online") == "1";
  out.asked_to_close = asked_to_close_;
  out.medium_ready = medium_ != nullptr;
  out.frontend_is_stale = frontend_is_stale_;
  return out;
}

asio::awaitable<bool> disk::carry_out(step what, const facts& now) {
  log().debug("{}: frontend {}, backend {}: {}", place_.directory,
              wire::to_string(now.frontend_state), wire::to_string(own_), to_string(what));
  switch (what) {
    case step::wait:
      break;
    case step::announce:
      asked_to_close_ = false;
      co_await publish(nodes_before_init_wait(plan_->config), init_wait);
      settled_ = true;
      change_.cancel();
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

/// What the toolstack may change while the disk is served: faults, size, and commands.
asio::awaitable<void> disk::obey(const facts& now) {
  const std::string words(find(now.directory, "xenpv/fault").value_or(""));
  if (words != fault_words_) {
    fault_words_ = words;
    if (const auto faults = parse_disk_faults(words)) {
      plan_->faults = *faults;
      auto set = [faults = *faults](ring_server& ring) { ring.set_faults(faults); };
      co_await for_each_ring(set);
      co_await runtime_.store().write(node("xenpv/applied-fault"), words);
    } else {
      co_await complain(faults.error().text);
    }
  }
  const std::string size(find(now.directory, "xenpv/size").value_or(""));
  if (size != size_word_) {
    size_word_ = size;
    const auto wanted = parse_unsigned(size, "node xenpv/size", 1, std::uint64_t{1} << 60);
    if (wanted)
      co_await follow_size(*wanted);
    else
      co_await complain(wanted.error().text);
  }
  const auto text = find(now.directory, "xenpv/command");
  if (!text) co_return;
  const auto command = parse_disk_command(*text);
  if (command) {
    co_await restart(now);
    if (command->what == disk_command::verb::power_cut && medium_)
      medium_->power_cut(command->seed);
  } else {
    co_await complain(command.error().text);
  }
  // Whoever gave it may wait for it to be gone.
  co_await runtime_.store().remove(node("xenpv/command"));
}

/// As if the backend's domain had died and come back: nobody is told, nothing is left but the disk.
asio::awaitable<void> disk::restart(const facts& now) {
  co_await drop_rings();
  vanished_ = false;
  frontend_is_stale_ = is_connection(now.frontend_state);
  // At once: a frontend that reads a few nodes of a connected backend must not find some missing.
  auto forget = [&](xen::store_transaction& store) {
    for (const auto name : published_names())
      (void)store.remove(node(name));
    store.write(node("state"), fmt::format("{}", raw(initialising)));
  };
  co_await runtime_.store().transact(forget);
  own_ = initialising;
  if (!medium_) plan_.reset();
}

asio::awaitable<void> disk::follow_size(std::uint64_t wanted) {
  auto& config = plan_->config;
  if (!medium_) co_return;
  const bool changes = wanted != config.size;
  std::string problem;
  try {
    if (wanted % config.sector_size != 0)
      throw failure(errc::invalid_argument, fmt::format("change the size to {} bytes", wanted),
                    fmt::format("expected a multiple of {}", config.sector_size));
    // No request may be inside a part that is cut off, or outside one that is not there yet.
    if (wanted > config.size) medium_->resize(wanted);
    auto set = [wanted](ring_server& ring) { ring.set_size(wanted); };
    co_await for_each_ring(set);
    if (wanted < config.size) medium_->resize(wanted);
    config.size = wanted;
  } catch (const failure& why) {
    problem = why.what();
  }
  if (!problem.empty()) {
    co_await complain(problem);
    co_return;
  }
  co_await runtime_.store().write(node("xenpv/applied-size"), fmt::format("{}", wanted));
  const bool one_by_one = config.habits().resize == resize_signal::sectors_then_state;
  if (own_ != connected || !changes) co_return;
  if (one_by_one)
    co_await write_one_by_one(nodes_on_resize(config));
  else
    co_await publish(nodes_on_resize(config), connected);
}

}  // namespace xenpv::blkback
