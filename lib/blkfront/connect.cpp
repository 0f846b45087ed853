// The steps from a device's path to a connected ring.
#include <fmt/format.h>

#include <boost/asio/use_awaitable.hpp>

#include <algorithm>

#include "base/parse.hpp"
#include "blkfront/connection.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::blkfront {

using event_kind = connection_event::kind;
using namespace std::chrono_literals;

namespace {

/// If nothing changes for this long, the handshake proceeds as far as it can without the backend.
constexpr std::chrono::nanoseconds timeout = 2s;

/// blkback refuses a ring while requests of the previous ring are in flight; they complete
/// eventually.
constexpr unsigned refusals_max = 8;
constexpr std::chrono::nanoseconds first_back_off = 50ms;

/// Initial and maximum pause after a failed read of a connected device's nodes.
constexpr std::chrono::nanoseconds first_retry_pause = 20ms;
constexpr std::chrono::nanoseconds longest_retry_pause = 2s;

/// How long a reconnect waits for clients to return leases of the previous pages, and the retry
/// interval. After that the reconnect continues with fewer pages: one slow client must not block
/// all others.
constexpr std::chrono::nanoseconds lease_timeout = 2s;
constexpr std::chrono::nanoseconds lease_interval = 20ms;

flush_support offered_flush(const backend_properties& properties) {
  if (!properties.shape.can_flush) return flush_support::none;
  return properties.flush_cache ? flush_support::cache : flush_support::barrier;
}

void log_layout(const std::string& device, const backend_offer& offer, const layout& plan) {
  log().debug(
      "{}: the backend offers {} queue(s), rings of {} page(s) and {} indirect segments; using {} "
      "queue(s), rings of {} page(s), {} segments per request and {} granted pages",
      device, offer.max_queues, 1U << offer.max_ring_page_order, offer.max_indirect_segments,
      plan.queues, plan.ring_pages(), plan.segments, plan.pages());
}

void log_features(const std::string& device, const std::string& backend,
                  const backend_properties& properties, bool persistent) {
  const auto& shape = properties.shape;
  std::string features;
  const auto add = [&](bool is_used, std::string_view name) {
    if (is_used) features += fmt::format(", {}", name);
  };
  add(shape.read_only, "read-only");
  add(properties.flush_cache, "feature-flush-cache");
  add(properties.barrier, "feature-barrier");
  add(shape.can_flush, "flush and FUA");
  add(shape.can_discard, "discard");
  add(shape.can_secure_discard, "secure discard");
  add(persistent, "persistent grants");
  log().debug("{}: {}: {} in sectors of {} bytes (physical {}){}", device, backend,
              format_size(shape.size), shape.sector_size, shape.physical_sector_size, features);
}

}  // namespace

asio::awaitable<void> frontend::connection::load_expected_disk() {
  if (expected_identity_.empty()) co_return;
  const auto remembered = parse_remembered(expected_identity_).value();
  const auto own = co_await session_.store().own_domid();
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

asio::awaitable<connection_event> frontend::connection::read_view() {
  connection_event event{event_kind::view, {}};
  event.view = co_await nodes_.read_view();
  const auto backend = event.view.states.backend;
  const bool is_preparing =
      backend == wire::xenbus_state::initialising || backend == wire::xenbus_state::init_wait;
  if (!is_preparing || !(machine_.is_opening() || machine_.is_recovering())) co_return event;
  const auto problem = co_await nodes_.hotplug_problem();
  if (!problem) co_return event;
  // Only the toolstack can fix this.
  throw failure(make_error_code(errc::not_available),
                fmt::format("connect {}: the hotplug script could not set up the disk", device_),
                problem->empty() ? "hotplug-status is 'error'; see the log of the backend domain"
                                 : fmt::format("hotplug-error: {}", *problem));
}

asio::awaitable<connection_event> frontend::connection::wait() {
  if (machine_.is_interrupted()) co_return connection_event{event_kind::changed, {}};
  bool changed = true;
  if (machine_.is_opening() || machine_.is_recovering()) {
    // Count only the time spent waiting, which excludes time during which the guest does not run.
    const auto limit = std::min(options_.connect_deadline, attempt_limit_);
    if (attempt_left_ <= 0s) co_await nodes_.give_up(limit);
    const auto slice = std::min(attempt_left_, timeout);
    const auto began = clock::now();
    changed = co_await nodes_.wait_for_change(slice);
    attempt_left_ -= std::min<std::chrono::nanoseconds>(slice, clock::now() - began);
  } else {
    retry_pause_ = {};
    (void)co_await nodes_.wait_for_change(std::chrono::nanoseconds::max());
  }
  if (machine_.is_interrupted()) co_return connection_event{event_kind::changed, {}};
  auto event = co_await read_view();
  event.view.states.waited_long = !changed;
  co_return event;
}

asio::awaitable<void> frontend::connection::set_state(wire::xenbus_state state) {
  log().debug("{}: changing to {}", device_, wire::to_string(state));
  const bool written = co_await nodes_.set_state(state);
  if (!written)
    throw failure(errc::lost_connection, fmt::format("connect {}", device_),
                  "the toolstack removed the device");
}

asio::awaitable<void> frontend::connection::sleep(std::chrono::nanoseconds pause) {
  asio::steady_timer timer(session_.control(), pause);
  co_await timer.async_wait(asio::use_awaitable);
}

asio::awaitable<void> frontend::connection::back_off() {
  if (machine_.state() == connection_state::connected) {
    retry_pause_ = std::clamp(2 * retry_pause_, first_retry_pause, longest_retry_pause);
    co_await sleep(retry_pause_);
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
  queues_.make(count, defaults, make_queue_events());
}

asio::awaitable<void> frontend::connection::publish() {
  const auto nodes = co_await nodes_.read_backend();
  const auto offer = parse_offer(nodes).value();
  const auto transports = co_await open_transports(offer);
  facts_.queues = plan_.queues;
  facts_.ring_page_order = plan_.ring_page_order;
  facts_.segments = plan_.segments;
  facts_.pages = plan_.pages();
  const bool large_sectors =
      backend_kind(facts_.backend) == "qdisk" && value_or(nodes, "sector-size", "512") != "512";
  guard_with_custodian();
  const auto written = transport_nodes(
      transports, {.persistent = options_.persistent, .large_sectors = large_sectors});
  co_await nodes_.publish(written);
}

asio::awaitable<std::vector<queue_transport>> frontend::connection::open_transports(
    const backend_offer& offer) {
  layout_limits limits{options_.ring_page_order, options_.queues, options_.segments};
  // Callers use only the first connection's queues, so additional queues would stay idle.
  const bool is_first = machine_.is_opening();
  if (!is_first) limits.queues = static_cast<unsigned>(queues_.size());
  const auto domain = nodes_.facts().backend_domain;
  auto budget = options_.pages         ? *options_.pages
                : is_first || !budget_ ? resources_.page_budget(domain)
                                       : *budget_;
  // Pages of the previous connection stay granted while clients hold leases on them.
  auto lease_time_left = is_first ? 0ns : lease_timeout;
  for (;;) {
    plan_ = choose_layout(offer, limits, budget, static_cast<unsigned>(session_.cpus())).value();
    if (is_first) make_queues(plan_.queues);
    // A port bound through a handle opened before a resume would stay bound for the guest's
    // lifetime.
    co_await check_resume();
    if (machine_.is_resumed()) throw failure(errc::resumed, fmt::format("connect {}", device_));
    auto transports = co_await queues_.open(nodes_.facts(), plan_);
    if (transports) {
      log_layout(device_, offer, plan_);
      if (is_first) budget_ = budget;
      resources_.set_pages(plan_.pages());
      co_return std::move(*transports);
    }
    co_await check_resume();
    if (is_first)
      co_await queues_.call_all(&frontend_queue::close_transport);
    else
      (void)co_await queues_.suspend(true, machine_.loss());
    if (lease_time_left > 0ns) {
      co_await sleep(lease_interval);
      lease_time_left -= lease_interval;
      continue;
    }
    log().info("{}: cannot grant {} pages; retrying with 25% fewer", device_, plan_.pages());
    budget = std::max(least_pages, plan_.pages() - plan_.pages() / 4);
  }
}

error frontend::connection::check_disk(const known_disk& now) const {
  if (!known_) return {};
  const auto same = check_same_disk(*known_, now, machine_.may_have_moved());
  if (same) return {};
  return {same.error().code, device_ + ": " + same.error().text};
}

/// Keeps the features that were advertised to clients when they connected.
void frontend::connection::keep_advertised_features(backend_properties& properties) {
  auto& shape = properties.shape;
  if (known_) {
    // The disk was advertised as read-only, so it must stay read-only.
    shape.read_only = shape.read_only || known_->shape.read_only;
    shape.can_flush = shape.can_flush && !shape.read_only;
  }
  const auto before = std::exchange(facts_.flush, offered_flush(properties));
  const bool lost_flush = known_ && known_->shape.can_flush && !shape.can_flush && !shape.read_only;
  if (!lost_flush) return;
  if (options_.strict_flush) {
    log().error("{}: the backend no longer offers flush; flushes and FUA writes fail", device_);
    return;
  }
  // Ignore flushes, as Linux blkfront does: file systems abort when a flush fails.
  shape.can_flush = true;
  if (before == flush_support::ignored)
    facts_.flush = before;
  else
    ignore_flush();
}

/// Records that the queues now complete flushes without sending them to the backend.
void frontend::connection::ignore_flush() {
  if (std::exchange(facts_.flush, flush_support::ignored) == flush_support::ignored) return;
  log().warn(
      "{}: the backend no longer offers flush or refused a flush: flushes and FUA writes succeed "
      "without reaching it, and writes might not be durable (with strict_flush they fail)",
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
  keep_advertised_features(properties);
  facts_.persistent = options_.persistent && properties.persistent;
  log_features(device_, facts_.backend, properties, facts_.persistent);
  co_await queues_.connect(properties, plan_, nodes_.facts().handle);
  if (known_ && known_->shape.size != shape.size)
    log().warn("{}: resized while disconnected: {} -> {}", device_, format_size(known_->shape.size),
               format_size(shape.size));
  shape_ = shape;
  now.shape = shape;
  known_ = now;
  co_await set_state(wire::xenbus_state::connected);
}

/// The custodian, a helper process, closes the device if this process dies. Otherwise the backend
/// would stay connected to a dead frontend until the next user resets the connection. Errors are
/// only logged, because the disk is usable without a custodian.
void frontend::connection::guard_with_custodian() {
  auto* const custodian = session_.custodian();
  if (custodian == nullptr) return;
  const auto own = device_ + "/state";
  const auto backend = facts_.backend + "/state";
  constexpr auto at_most = std::chrono::milliseconds(5000);
  try {
    custodian->set_cleanup(
        device_, {xen::cleanup_write{own, "5"}, xen::cleanup_wait{backend, {"5", "6"}, at_most},
                  xen::cleanup_write{own, "6"}, xen::cleanup_wait{backend, {"6"}, at_most}});
  } catch (const failure& problem) {
    log().warn("{}: the device will not be closed if this process is killed: {}", device_,
               problem.what());
  }
}

asio::awaitable<void> frontend::connection::reread() {
  if (!nodes_.take_properties_changed()) co_return;
  const auto nodes = co_await nodes_.read_backend();
  const auto properties =
      parse_properties(nodes, backend_kind(facts_.backend), nodes_.facts().type, plan_.queues);
  if (!properties) {
    log().error("{}: {}; keeping the current size", device_, properties.error().text);
    co_return;
  }
  auto shape = properties->shape;
  shape.preferred_transfer = shape_.preferred_transfer;
  if (shape.sector_size != shape_.sector_size) {
    log().error("{}: the backend changed the sector size from {} to {}; reconnect to use it",
                device_, shape_.sector_size, shape.sector_size);
    co_return;
  }
  // Features that the backend refused at run time stay off, regardless of its nodes. An advertised
  // flush stays on because the queues complete flushes even if the backend refuses them.
  shape.can_flush = shape_.can_flush && !shape.read_only;
  shape.can_discard = shape.can_discard && shape_.can_discard;
  shape.can_secure_discard = shape.can_secure_discard && shape_.can_secure_discard;
  if (shape == shape_) co_return;
  log().info("{}: {} -> {}", device_, format_size(shape_.size), format_size(shape.size));
  shape_ = shape;
  if (known_) known_->shape = shape;
  co_await queues_.call_all(&frontend_queue::set_geometry, shape);
  notify_change();
}

}  // namespace xenpv::blkfront
