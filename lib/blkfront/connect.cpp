// The steps from a device's path to a connected ring.
#include <fmt/format.h>

#include <boost/asio/use_awaitable.hpp>

#include <algorithm>

#include "blkfront/connection.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/parse.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::blkfront {

namespace asio = boost::asio;
using kind = connection_event::kind;
using namespace std::chrono_literals;

namespace {

/// Without any change for this long, the handshake goes on as far as it can alone.
constexpr std::chrono::nanoseconds patience = 2s;

/// blkback refuses a ring while requests of the one before are in flight; they end by themselves.
constexpr unsigned refusals_max = 8;
constexpr std::chrono::nanoseconds first_back_off = 50ms;

/// Between a look at a connected device's nodes that failed and the next: at first and at most.
constexpr std::chrono::nanoseconds second_look = 20ms;
constexpr std::chrono::nanoseconds longest_look_pause = 2s;

/// How long a reconnect waits for clients to return leases of the pages before, and how often it
/// tries. Past that it goes on with fewer pages: one slow client must not stop all others.
constexpr std::chrono::nanoseconds lease_patience = 2s;
constexpr std::chrono::nanoseconds lease_interval = 20ms;

flush_support offered_flush(const backend_properties& properties) {
  if (!properties.shape.can_flush) return flush_support::none;
  return properties.flush_cache ? flush_support::cache : flush_support::barrier;
}

}  // namespace

asio::awaitable<void> frontend::connection::recall_disk() {
  if (recalled_.empty()) co_return;
  const auto remembered = parse_remembered(recalled_).value();
  const auto own = co_await runtime_.store().own_domid();
  known_ = remembered.disk;
  if (!own || raw(*own) != remembered.domain) machine_.assume_moved();
}

asio::awaitable<void> frontend::connection::read_device() {
  co_await nodes_.read_device();
  facts_.backend = nodes_.facts().backend;
  facts_.backend_domain = nodes_.facts().backend_domain;
  facts_.trusted = nodes_.facts().trusted;
  attempt_left_ = std::min(options_.connect_deadline, attempt_limit_);
}

asio::awaitable<connection_event> frontend::connection::look() {
  connection_event event{kind::view, {}};
  event.view = co_await nodes_.look();
  const auto backend = event.view.states.backend;
  const bool is_waited_for =
      backend == wire::xenbus_state::initialising || backend == wire::xenbus_state::init_wait;
  if (!is_waited_for || !(is_opening() || is_recovering())) co_return event;
  const auto problem = co_await nodes_.hotplug_problem();
  if (!problem) co_return event;
  // Nothing but the toolstack will change that.
  throw failure(
      make_error_code(errc::not_available),
      fmt::format("connect {}: the toolstack's script could not prepare the disk", device_),
      problem->empty() ? "hotplug-status is 'error'; see the log of the backend's domain"
                       : fmt::format("hotplug-error: {}", *problem));
}

asio::awaitable<connection_event> frontend::connection::wait() {
  if (machine_.is_interrupted()) co_return connection_event{kind::changed, {}};
  bool changed = true;
  if (is_opening() || is_recovering()) {
    // Waiting is what counts, slice by slice: for a guest that does not run, no time passes.
    const auto limit = std::min(options_.connect_deadline, attempt_limit_);
    if (attempt_left_ <= 0s) co_await nodes_.give_up(limit);
    const auto slice = std::min(attempt_left_, patience);
    const auto began = clock::now();
    changed = co_await nodes_.wait_for_change(slice);
    attempt_left_ -= std::min<std::chrono::nanoseconds>(slice, clock::now() - began);
  } else {
    look_pause_ = {};
    (void)co_await nodes_.wait_for_change(std::chrono::nanoseconds::max());
  }
  if (machine_.is_interrupted()) co_return connection_event{kind::changed, {}};
  auto event = co_await look();
  event.view.states.waited_long = !changed;
  co_return event;
}

asio::awaitable<void> frontend::connection::set_state(wire::xenbus_state state) {
  const bool written = co_await nodes_.set_state(state);
  if (!written)
    throw failure(errc::lost_connection, fmt::format("connect {}", device_),
                  "the toolstack removed the device");
}

asio::awaitable<void> frontend::connection::sleep(std::chrono::nanoseconds pause) {
  asio::steady_timer timer(runtime_.control(), pause);
  co_await timer.async_wait(asio::use_awaitable);
}

asio::awaitable<void> frontend::connection::back_off() {
  if (machine_.state() == connection_state::connected) {
    look_pause_ = std::clamp(2 * look_pause_, second_look, longest_look_pause);
    co_await sleep(look_pause_);
    nodes_.assume_properties_changed();
    co_return;
  }
  const auto limit = std::min(options_.connect_deadline, attempt_limit_);
  const auto refusals = std::max(1U, machine_.refusals());
  if (refusals > refusals_max || attempt_left_ <= 0s)
    co_await nodes_.give_up(limit - attempt_left_);
  const auto pause = std::min(first_back_off * (1 << (refusals - 1)), attempt_left_);
  co_await sleep(pause);
  attempt_left_ -= pause;
}

void frontend::connection::make_queues(unsigned count) {
  const queue_options defaults{.name = device_,
                               .request_deadline = options_.request_deadline,
                               .stall_report = options_.stall_report,
                               .strict_flush = options_.strict_flush,
                               .trust_backend_cache = options_.trust_backend_cache,
                               .ledger = std::make_shared<flush_ledger>(count)};
  queues_.make(count, defaults, events_of_queue());
}

asio::awaitable<void> frontend::connection::publish() {
  const auto nodes = co_await nodes_.read_backend();
  const auto offer = parse_offer(nodes).value();
  const auto transports = co_await open_transports(offer);
  facts_.queues = plan_.queues;
  facts_.ring_page_order = plan_.ring_page_order;
  facts_.segments = plan_.segments;
  facts_.pages = plan_.pages();
  const auto sector_size = nodes.find("sector-size");
  const bool large_sectors = backend_kind(facts_.backend) == "qdisk" &&
                             sector_size != nodes.end() && sector_size->second != "512";
  guard_with_custodian();
  const auto written = transport_nodes(
      transports, {.persistent = options_.persistent, .large_sectors = large_sectors});
  co_await nodes_.publish(written);
}

asio::awaitable<std::vector<queue_transport>> frontend::connection::open_transports(
    const backend_offer& offer) {
  layout_limits limits{options_.ring_page_order, options_.queues, options_.segments};
  // Callers know the queues there are: more of them would be nobody's.
  const bool is_first = is_opening();
  if (!is_first) limits.queues = static_cast<unsigned>(queues_.size());
  const auto domain = nodes_.facts().backend_domain;
  auto budget = options_.pages         ? *options_.pages
                : is_first || !budget_ ? resources_.page_budget(domain)
                                       : *budget_;
  // Pages of the connection before are granted for as long as clients have leases of them.
  auto patience_left = is_first ? 0ns : lease_patience;
  for (;;) {
    plan_ = choose_layout(offer, limits, budget, static_cast<unsigned>(runtime_.cpus())).value();
    if (is_first) make_queues(plan_.queues);
    // A port bound to a handle from before a resume would stay bound for as long as the guest
    // lives.
    co_await settle_resume();
    if (machine_.is_resumed()) throw failure(errc::resumed, fmt::format("connect {}", device_));
    auto transports = co_await queues_.open(nodes_.facts(), plan_);
    if (transports) {
      if (is_first) budget_ = budget;
      resources_.set_pages(plan_.pages());
      co_return std::move(*transports);
    }
    co_await settle_resume();
    if (is_first)
      co_await queues_.close();
    else
      (void)co_await queues_.suspend(true, machine_.loss());
    if (patience_left > 0ns) {
      co_await sleep(lease_interval);
      patience_left -= lease_interval;
      continue;
    }
    log().info("{}: {} pages are not free; trying with a quarter less", device_, plan_.pages());
    budget = std::max(least_pages, plan_.pages() - plan_.pages() / 4);
  }
}

error frontend::connection::check_disk(const known_disk& now) const {
  if (!known_) return {};
  const auto same = check_same_disk(*known_, now, machine_.may_have_moved());
  if (same) return {};
  return {same.error().code, device_ + ": " + same.error().text};
}

/// Clients go by what they were told when they connected.
void frontend::connection::keep_promises(backend_properties& properties) {
  auto& shape = properties.shape;
  if (known_) {
    // Nobody was told that it could be written to, so nobody has to be told when it cannot again.
    shape.read_only = shape.read_only || known_->shape.read_only;
    shape.can_flush = shape.can_flush && !shape.read_only;
  }
  const auto before = std::exchange(facts_.flush, offered_flush(properties));
  const bool is_missed = known_ && known_->shape.can_flush && !shape.can_flush && !shape.read_only;
  if (!is_missed) return;
  if (options_.strict_flush) {
    log().error("{}: the backend offers no flush any more; flushes and FUA writes fail", device_);
    return;
  }
  // As Linux' blkfront does: file systems that cannot flush would abort.
  shape.can_flush = true;
  if (before == flush_support::ignored)
    facts_.flush = before;
  else
    ignore_flush();
}

/// From now on the queues answer flushes without the backend.
void frontend::connection::ignore_flush() {
  if (std::exchange(facts_.flush, flush_support::ignored) == flush_support::ignored) return;
  log().warn(
      "{}: the backend offers no flush any more, or refuses one: flushes and FUA writes succeed "
      "without reaching it, and nothing says when a write is durable (with strict_flush they fail)",
      device_);
  notify_change();
}

asio::awaitable<void> frontend::connection::finish() {
  const auto nodes = co_await nodes_.read_backend();
  auto properties =
      parse_properties(nodes, backend_kind(facts_.backend), nodes_.facts().type, plan_.queues)
          .value();
  auto& shape = properties.shape;
  shape.preferred_transfer = std::uint64_t{plan_.segments} * page_size;
  known_disk now{shape, parse_identity(nodes)};
  const auto problem = check_disk(now);
  if (problem.code) throw failure(problem);
  keep_promises(properties);
  facts_.persistent = options_.persistent && properties.persistent;
  co_await queues_.connect(properties, plan_, nodes_.facts().handle);
  if (known_ && known_->shape.size != shape.size)
    log().warn("{}: resized meanwhile, {} -> {}", device_, format_size(known_->shape.size),
               format_size(shape.size));
  shape_ = shape;
  now.shape = shape;
  known_ = now;
  co_await set_state(wire::xenbus_state::connected);
}

/// If this process dies, the backend has to be told, or the next user finds it connected to us.
/// Without a custodian that can see to it, the disk is still better connected than not.
void frontend::connection::guard_with_custodian() {
  auto* const custodian = runtime_.custodian();
  if (custodian == nullptr) return;
  const auto own = device_ + "/state";
  const auto backend = facts_.backend + "/state";
  constexpr auto at_most = std::chrono::milliseconds(5000);
  try {
    custodian->set_cleanup(
        device_, {xen::cleanup_write{own, "5"}, xen::cleanup_wait{backend, {"5", "6"}, at_most},
                  xen::cleanup_write{own, "6"}, xen::cleanup_wait{backend, {"6"}, at_most}});
  } catch (const failure& problem) {
    log().warn("{}: if this process is killed, nobody closes the device: {}", device_,
               problem.what());
  }
}

asio::awaitable<void> frontend::connection::reread() {
  if (!nodes_.take_properties_changed()) co_return;
  const auto nodes = co_await nodes_.read_backend();
  const auto properties =
      parse_properties(nodes, backend_kind(facts_.backend), nodes_.facts().type, plan_.queues);
  if (!properties) {
    log().error("{}: {}; the disk keeps its size", device_, properties.error().text);
    co_return;
  }
  auto shape = properties->shape;
  shape.preferred_transfer = shape_.preferred_transfer;
  if (shape.sector_size != shape_.sector_size) {
    log().error("{}: the backend changed the sector size from {} to {}; reconnect to use it",
                device_, shape_.sector_size, shape.sector_size);
    co_return;
  }
  // What was refused at run time stays switched off, whatever the nodes still say; and what flush
  // was promised stays so, because the queues see to what becomes of one.
  shape.can_flush = shape_.can_flush && !shape.read_only;
  shape.can_discard = shape.can_discard && shape_.can_discard;
  shape.can_secure_discard = shape.can_secure_discard && shape_.can_secure_discard;
  if (shape == shape_) co_return;
  log().info("{}: {} -> {}", device_, format_size(shape_.size), format_size(shape.size));
  shape_ = shape;
  if (known_) known_->shape = shape;
  co_await queues_.set_geometry(shape);
  notify_change();
}

}  // namespace xenpv::blkfront
