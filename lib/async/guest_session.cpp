#include "xenpv/async/guest_session.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <string>
#include <tuple>
#include <utility>

#include "async/nursery.hpp"
#include "async/resume_guard.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/xen/custodian.hpp"
#include "xenpv/xen/suspend_clock.hpp"

namespace xenpv::async {
namespace {

std::shared_ptr<xen::custodian> start_custodian(bool enabled) {
  if (!enabled) return nullptr;
  return std::make_shared<xen::custodian>(xen::custodian::start());
}

/// Runs `step`. If it throws, stores the exception in `first` unless `first` is already set.
asio::awaitable<void> attempt(asio::awaitable<void> step, std::exception_ptr& first) {
  try {
    co_await std::move(step);
  } catch (...) {
    if (!first) first = std::current_exception();
  }
}

/// Names the cleanup that removes a dead process's resume marker.
const std::string marker_cleanup = "xenpv resume marker";

}  // namespace

struct guest_session::state {
  state(asio::any_io_executor control_executor, std::shared_ptr<xen::custodian> running)
      : control(std::move(control_executor)),
        custodian(std::move(running)),
        store(control, xen::store::open()),
        background(control),
        unfinished(control),
        resumes(control, store, suspends, [this] { return give_up_handles(); }) {}

  /// Calls `function(i)` for each CPU index `i`, on that CPU's thread. Makes all calls even if one
  /// throws, and then rethrows the first error.
  asio::awaitable<void> on_each_cpu(std::function<void(std::size_t)> function);
  asio::awaitable<void> open_loops();
  asio::awaitable<void> close_loops();
  asio::awaitable<void> give_up_handles();
  /// Replaces the custodian whenever it dies. Runs until cancelled.
  asio::awaitable<void> follow_custodian();
  /// Makes the custodian close the devices that were not closed cleanly, while their shared pages
  /// still exist.
  asio::awaitable<void> end_cleanups();
  asio::awaitable<void> close();

  asio::any_io_executor control;
  xen::suspend_clock suspends;  ///< read by the loops on their own threads
  std::shared_ptr<xen::custodian> custodian;
  store_client store;
  std::vector<session_cpu> cpus;
  std::vector<std::unique_ptr<event_loop>> loops;
  nursery background;
  nursery unfinished;       ///< close() waits for it first
  bool is_closing = false;  ///< nothing can be added to `unfinished`
  resume_guard resumes;
};

struct resume_hook::entry {
  std::weak_ptr<resume_callbacks> list;
  resume_callbacks::iterator position;
};

resume_hook::resume_hook() noexcept = default;
resume_hook::resume_hook(std::unique_ptr<entry> new_entry) noexcept
    : entry_(std::move(new_entry)) {}
resume_hook::resume_hook(resume_hook&&) noexcept = default;
resume_hook& resume_hook::operator=(resume_hook&& other) noexcept {
  resume_hook before(std::move(*this));
  entry_ = std::move(other.entry_);
  return *this;
}
resume_hook::~resume_hook() {
  if (!entry_) return;
  const auto list = entry_->list.lock();
  if (!list) return;
  (*entry_->position)->is_subscribed = false;
  list->erase(entry_->position);
}

asio::awaitable<void> guest_session::state::on_each_cpu(std::function<void(std::size_t)> function) {
  std::exception_ptr first;
  for (std::size_t i = 0; i < cpus.size(); ++i) {
    auto call = [&] { function(i); };
    co_await attempt(call_on(cpus[i].context->get_executor(), call), first);
  }
  if (first) std::rethrow_exception(first);
}

asio::awaitable<void> guest_session::state::open_loops() {
  for (std::size_t i = 0; i < cpus.size(); ++i) {
    auto open = [this, i] {
      event_loop_options options;
      options.custodian = custodian ? &*custodian : nullptr;
      options.suspends = &suspends;
      options.on_suspend = [this] { asio::post(control, [this] { resumes.check_soon(); }); };
      options.irq_cpu = cpus[i].irq_cpu;
      loops[i] = std::make_unique<event_loop>(*cpus[i].context, std::move(options));
    };
    co_await call_on(cpus[i].context->get_executor(), open);
  }
}

asio::awaitable<void> guest_session::state::close_loops() {
  return on_each_cpu([this](std::size_t i) { loops[i].reset(); });
}

asio::awaitable<void> guest_session::state::give_up_handles() {
  // The custodian must be notified first: from then on, it holds the old handles open, whatever the
  // loops do with them. The loops must be notified even if notifying the custodian fails: otherwise
  // they would unbind ports that they consider live, which triggers a kernel BUG.
  try {
    if (custodian) custodian->resumed();
  } catch (const std::exception& e) {
    log().error("{}", e.what());
  }
  auto give_up = [this](std::size_t i) {
    if (loops[i]) loops[i]->resumed();
  };
  co_await on_each_cpu(give_up);
}

asio::awaitable<void> guest_session::state::follow_custodian() {
  constexpr auto token = asio::as_tuple(asio::use_awaitable);
  asio::steady_timer pause(control);
  for (;;) {
    boost::system::error_code code;
    bool is_alive = false;
    try {
      auto end = custodian->end_descriptor();
      asio::posix::stream_descriptor watched(control, end.get());
      static_cast<void>(end.release());
      std::tie(code) =
          co_await watched.async_wait(asio::posix::stream_descriptor::wait_error, token);
      is_alive = code || custodian->revive();
    } catch (const std::exception& e) {
      log().error("watch the custodian: {}", e.what());
    }
    if (!is_alive) {
      pause.expires_after(std::chrono::seconds(1));
      std::tie(code) = co_await pause.async_wait(token);
    }
    if (code) co_return;
  }
}

asio::awaitable<void> guest_session::state::end_cleanups() {
  if (!custodian) co_return;
  custodian->clear_cleanup(marker_cleanup);
  custodian->clean_up();
}

guest_session::guest_session(asio::any_io_executor control, bool with_custodian)
    : guest_session(std::move(control), start_custodian(with_custodian)) {}

guest_session::guest_session(asio::any_io_executor control,
                             std::shared_ptr<xen::custodian> custodian)
    : state_(std::make_unique<state>(std::move(control), std::move(custodian))) {}

guest_session::~guest_session() = default;

void guest_session::set_cpus(std::vector<session_cpu> cpus) {
  state_->loops.resize(cpus.size());
  state_->cpus = std::move(cpus);
}

asio::awaitable<void> guest_session::open() {
  auto& s = *state_;
  co_await s.open_loops();
  co_await s.resumes.start();
  if (!s.custodian) co_return;
  if (!s.resumes.marker().empty())
    s.custodian->set_cleanup(marker_cleanup, {xen::cleanup_remove{s.resumes.marker()}});
  s.background.spawn(s.follow_custodian());
}

asio::awaitable<void> guest_session::state::close() {
  std::exception_ptr first;
  // Before the cleanups: a device that closes itself must not write its state after the custodian
  // has closed it.
  co_await attempt(unfinished.join(), first);
  is_closing = true;
  // Check once more: closing a handle opened before a resume triggers a kernel BUG.
  co_await attempt(resumes.stop(), first);
  co_await attempt(end_cleanups(), first);
  background.cancel();
  co_await attempt(background.join(), first);
  co_await attempt(close_loops(), first);
  co_await attempt(store.close(), first);
  if (first) std::rethrow_exception(first);
}

asio::awaitable<void> guest_session::close() {
  // An interrupted close would leave event loops open, and their handles are dangerous after a
  // resume.
  return shielded(state_->close());
}

void guest_session::spawn(asio::awaitable<void> body) {
  if (state_->is_closing)
    log().error("work was left to a session that is already closed; it is not done");
  else
    state_->unfinished.spawn(shielded(std::move(body)));
}

resume_hook guest_session::on_resume(std::function<void()> callback) {
  const auto& list = state_->resumes.callbacks();
  const auto position = list->insert(
      list->end(), std::make_shared<resume_subscriber>(resume_subscriber{std::move(callback)}));
  return resume_hook(std::make_unique<resume_hook::entry>(resume_hook::entry{list, position}));
}

asio::awaitable<bool> guest_session::check_resume() {
  // An interrupted check could leave loops with handles opened before the resume.
  co_return co_await shielded(state_->resumes.check());
}

std::uint64_t guest_session::resumes() const noexcept {
  return state_->resumes.resumes();
}

asio::any_io_executor guest_session::control() const {
  return state_->control;
}

store_client& guest_session::store() noexcept {
  return state_->store;
}

xen::custodian* guest_session::custodian() noexcept {
  return state_->custodian ? &*state_->custodian : nullptr;
}

std::size_t guest_session::cpus() const noexcept {
  return state_->cpus.size();
}

asio::any_io_executor guest_session::executor(std::size_t index) {
  return context(index).get_executor();
}

asio::io_context& guest_session::context(std::size_t index) {
  return *state_->cpus.at(index).context;
}

event_loop& guest_session::loop(std::size_t index) {
  return *state_->loops.at(index);
}

}  // namespace xenpv::async
