// From a device's path to a connected ring.
#include <fmt/format.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>

#include "blkfront/connection.hpp"
#include "xenpv/async/call_on.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/parse.hpp"
#include "xenpv/xen/custodian.hpp"
#include "xenpv/xen/guest.hpp"

namespace xenpv::blkfront {

namespace asio = boost::asio;
using async::call_on;
using namespace std::chrono_literals;

namespace {

/// Without any change for this long, the handshake goes on as far as it can alone.
constexpr auto patience = 2s;

/// blkback refuses a ring while requests of the one before are in flight; they end by themselves.
constexpr unsigned refusals_max = 8;
constexpr auto first_back_off = 50ms;

/// xen-gntalloc's own default.
constexpr std::size_t usual_page_limit = 1024;

std::size_t page_budget(const options& how) {
  if (how.pages) return *how.pages;
  // Half of what all processes of the guest share, so that a second disk gets its pages, too.
  return xen::read_guest_facts().gntalloc_limit.value_or(usual_page_limit) / 2;
}

bool is_out_of_pages(const failure& problem) {
  return problem.code() == std::errc::no_space_on_device || problem.code() == errc::limit_reached;
}

}  // namespace

asio::awaitable<void> frontend::connection::read_facts() {
  auto& store = on_.store();
  const auto backend = co_await store.read_if_exists(device_ + "/backend");
  if (!backend)
    throw failure(make_error_code(errc::not_available), fmt::format("open {}", device_),
                  "there is no such device; `xenstore-ls device/vbd` lists those attached");
  facts_.backend = *backend;
  const auto read = [&](const char* name, std::uint64_t high) -> asio::awaitable<std::uint64_t> {
    const auto path = fmt::format("{}/{}", device_, name);
    const auto text = co_await store.read(path);
    co_return parse_unsigned(text, path, 0, high).value();
  };
  facts_.backend_domain = domid{static_cast<std::uint16_t>(co_await read("backend-id", 0x7FEF))};
  const auto type = co_await store.read_if_exists(device_ + "/device-type");
  device_type_ = type.value_or("disk");
  facts_.trusted = (co_await store.read_if_exists(device_ + "/trusted")).value_or("1") != "0";
  // The handle in a request is the number in the path; extended numbers lose their upper half
  // there.
  const auto name = device_.substr(device_.rfind('/') + 1);
  const auto number = parse_unsigned(name, "virtual device", 0, 0xFFFFFFFF);
  handle_ = static_cast<std::uint16_t>(number ? *number : 0);
}

asio::awaitable<void> frontend::connection::recall_disk() {
  if (recalled_.empty()) co_return;
  const auto remembered = parse_remembered(recalled_).value();
  const auto own = co_await on_.store().own_domid();
  known_ = remembered.disk;
  may_have_moved_ = !own || raw(*own) != remembered.domain;
}

asio::awaitable<std::string> frontend::connection::identity() {
  const auto own = co_await on_.store().own_domid();
  co_return known_ ? to_text({*known_, own ? raw(*own) : 0U}) : std::string();
}

asio::awaitable<void> frontend::connection::open() {
  co_await recall_disk();
  hook_ = on_.on_resume([self = weak_from_this()] {
    const auto live = self.lock();
    if (!live) return;
    live->resumed_ = true;
    live->wake();
  });
  std::exception_ptr error;
  do {
    error = nullptr;
    resumed_ = false;
    try {
      co_await attempt();
    } catch (...) {
      error = std::current_exception();
    }
    if (error) {
      co_await close_queues();
      queues_.clear();
    }
    // The guest was saved and restored meanwhile: no fault of the disk's.
  } while (error && resumed_);
  if (error) {
    co_await close();
    std::rethrow_exception(error);
  }
  opened_ = true;
  become(device_state::connected, std::nullopt);
  background_.spawn(monitor());
}

asio::awaitable<void> frontend::connection::attempt() {
  machine_ = {};
  co_await read_facts();
  co_await follow_nodes();
  co_await connect();
}

asio::awaitable<void> frontend::connection::give_up(std::chrono::nanoseconds waited) {
  const auto view = co_await look();
  const auto hotplug = co_await read_of_backend("hotplug-status");
  throw failure(errc::timed_out,
                fmt::format("connect {}: {}", device_, explain_wait(view, hotplug)),
                fmt::format("waited {}", format_duration(waited)));
}

asio::awaitable<void> frontend::connection::back_off(std::chrono::nanoseconds pause) {
  asio::steady_timer timer(on_.control(), pause);
  co_await timer.async_wait(asio::use_awaitable);
}

/// Whether it is still this device, and this backend, that is worth waiting for.
asio::awaitable<void> frontend::connection::check_ground() {
  const auto operation = fmt::format("connect {}", device_);
  if (resumed_) throw failure(errc::resumed, operation);
  const auto backend = co_await on_.store().read_if_exists(device_ + "/backend");
  if (!backend) throw failure(errc::lost_connection, operation, "the toolstack removed the device");
  if (*backend != facts_.backend)
    throw failure(errc::lost_connection, operation, "the toolstack gave it another backend");
}

asio::awaitable<void> frontend::connection::connect() {
  // Waiting is what counts, slice by slice: for a guest that does not run, no time passes.
  const auto limit = std::min(how_.connect_deadline, attempt_limit_);
  auto left = limit;
  auto view = co_await look();
  for (;;) {
    const auto refused = machine_.refusals();
    const auto step = machine_.next(view);
    view.waited_long = false;
    if (machine_.refusals() != refused) {
      // It may be the port that it cannot bind.
      if (opened_)
        co_await hold_queues(false);
      else
        co_await close_queues();
      if (machine_.refusals() > refusals_max || left <= 0s) co_await give_up(limit - left);
      const auto pause = std::min<std::chrono::nanoseconds>(first_back_off * (1 << refused), left);
      co_await back_off(pause);
      left -= pause;
    }
    switch (step) {
      case handshake_step::wait: {
        if (left <= 0s) co_await give_up(limit);
        const auto slice = std::min<std::chrono::nanoseconds>(left, patience);
        const auto began = clock::now();
        const bool changed = co_await wait_for_change(slice);
        left -= std::min<std::chrono::nanoseconds>(slice, clock::now() - began);
        co_await check_ground();
        view = co_await look();
        view.waited_long = !changed;
        continue;
      }
      case handshake_step::set_closing:
        co_await set_state(wire::xenbus_state::closing);
        break;
      case handshake_step::set_closed:
        co_await set_state(wire::xenbus_state::closed);
        break;
      case handshake_step::set_initialising:
        co_await set_state(wire::xenbus_state::initialising);
        break;
      case handshake_step::publish:
        co_await publish();
        break;
      case handshake_step::finish:
        co_await finish();
        co_return;
      case handshake_step::unplugged:
        throw failure(errc::lost_connection, fmt::format("connect {}", device_),
                      "the toolstack is taking the disk away (online=0)");
      case handshake_step::lost:
        throw failure(errc::lost_connection, fmt::format("connect {}", device_),
                      view.backend ? "the device's directory was built anew meanwhile"
                                   : "the backend's directory vanished meanwhile");
      case handshake_step::look_again:
      case handshake_step::close:
      case handshake_step::closed:
        break;
    }
    view = co_await look();
  }
}

asio::awaitable<void> frontend::connection::publish() {
  const auto nodes = co_await read_backend();
  const auto offer = parse_offer(nodes).value();
  layout_limits limits{how_.ring_page_order, how_.queues, how_.segments};
  // Callers know the queues there are: more of them would be nobody's.
  if (opened_) limits.queues = static_cast<unsigned>(queues_.size());
  const auto cpus = static_cast<unsigned>(on_.cpus());
  auto budget = page_budget(how_);
  std::vector<queue_transport> transports;
  for (;;) {
    plan_ = choose_layout(offer, limits, budget, cpus).value();
    if (co_await open_queues(plan_, transports)) break;
    log().info("{}: {} pages are not free; trying with half of that", device_, plan_.pages());
    budget = plan_.pages() / 2;
  }
  facts_.queues = plan_.queues;
  facts_.ring_page_order = plan_.ring_page_order;
  facts_.segments = plan_.segments;
  facts_.pages = plan_.pages();
  const auto sector_size = nodes.find("sector-size");
  const bool large_sectors = backend_kind(facts_.backend) == "qdisk" &&
                             sector_size != nodes.end() && sector_size->second != "512";
  guard_with_custodian();
  published_ = true;
  co_await write_transport(std::move(transports), large_sectors);
}

void frontend::connection::make_queues(unsigned count) {
  queues_.clear();
  for (unsigned i = 0; i < count; ++i) {
    queue_options queue_how{.name = fmt::format("{} queue {}", device_, i),
                            .request_deadline = how_.request_deadline};
    queues_.push_back(std::make_shared<frontend_queue>(on_.context(i), on_.loop(i), i,
                                                       std::move(queue_how), events_of_queue()));
  }
}

/// False: that many pages are not free, but fewer may be.
asio::awaitable<bool> frontend::connection::open_queues(const layout& plan,
                                                        std::vector<queue_transport>& out) {
  if (!opened_) make_queues(plan.queues);
  // A port bound to a handle from before a resume would stay bound for as long as the guest lives.
  co_await settle_resume();
  if (resumed_) throw failure(errc::resumed, fmt::format("connect {}", device_));
  out.clear();
  members_ = std::make_shared<sector_locks>(plan.queues);
  std::exception_ptr error;
  bool short_of_pages = false;
  for (unsigned i = 0; i < plan.queues; ++i) {
    const auto queue = queues_[i];
    members_->add(queue);
    auto open = [&] { return queue->open_transport(facts_.backend_domain, plan, !facts_.trusted); };
    try {
      out.push_back(co_await call_on(on_.executor(i), open));
    } catch (const failure& problem) {
      short_of_pages = is_out_of_pages(problem) && plan.pages() / 2 >= least_pages;
      error = std::current_exception();
      break;
    }
  }
  if (!error) co_return true;
  if (opened_)
    co_await hold_queues(true);
  else
    co_await close_queues();
  if (short_of_pages) co_return false;
  std::rethrow_exception(error);
}

asio::awaitable<void> frontend::connection::write_transport(std::vector<queue_transport> transports,
                                                            bool large_sectors) {
  const transport_options how{.persistent = how_.persistent, .large_sectors = large_sectors};
  const auto nodes = transport_nodes(transports, how);
  auto write = [&](xen::store_transaction& t) {
    // What a predecessor left would be read as ours, so it goes in the same transaction.
    for (const auto& name : t.list(device_))
      if (is_transport_node(name)) (void)t.remove(device_ + "/" + name);
    for (const auto& [name, value] : nodes)
      t.write(device_ + "/" + name, value);
    t.write(device_ + "/state", fmt::format("{}", raw(wire::xenbus_state::initialised)));
  };
  co_await on_.store().transact(write);
}

asio::awaitable<void> frontend::connection::finish() {
  const auto nodes = co_await read_backend();
  auto properties =
      parse_properties(nodes, backend_kind(facts_.backend), device_type_, plan_.queues).value();
  auto& shape = properties.shape;
  shape.preferred_transfer = std::uint64_t{plan_.segments} * page_size;
  const known_disk now{shape, parse_identity(nodes)};
  if (known_) {
    const auto same = check_same_disk(*known_, now, may_have_moved_);
    if (!same) throw failure(error{same.error().code, device_ + ": " + same.error().text});
    // Nobody was told that it could be written to, so nobody has to be told when it cannot again.
    shape.read_only = shape.read_only || known_->shape.read_only;
    shape.can_flush = shape.can_flush && !shape.read_only;
    if (known_->shape.can_flush && !shape.can_flush)
      log().error("{}: the backend offers no flush any more; what asks for one fails", device_);
  }
  facts_.persistent = how_.persistent && properties.persistent;
  for (unsigned i = 0; i < plan_.queues; ++i) {
    const auto queue = queues_[i];
    auto connect = [&] { queue->connect(properties, plan_, handle_, members_); };
    co_await call_on(queue->executor(), connect);
  }
  for (std::size_t i = plan_.queues; i < queues_.size(); ++i) {
    auto forward = [&] { queues_[i]->forward_to(queues_[i % plan_.queues], shape); };
    co_await call_on(queues_[i]->executor(), forward);
  }
  shape_ = shape;
  known_ = now;
  known_->shape = shape;
  co_await set_state(wire::xenbus_state::connected);
}

/// If this process dies, the backend has to be told, or the next user finds it connected to us.
void frontend::connection::guard_with_custodian() {
  auto* const custodian = on_.custodian();
  if (custodian == nullptr) return;
  const auto own = device_ + "/state";
  const auto backend = facts_.backend + "/state";
  constexpr auto at_most = std::chrono::milliseconds(5000);
  custodian->set_cleanup(
      device_, {xen::cleanup_write{own, "5"}, xen::cleanup_wait{backend, {"5", "6"}, at_most},
                xen::cleanup_write{own, "6"}, xen::cleanup_wait{backend, {"6"}, at_most}});
}

}  // namespace xenpv::blkfront
