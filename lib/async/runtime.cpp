#include "xenpv/async/runtime.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <exception>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include "async/resume_guard.hpp"
#include "xenpv/async/call_on.hpp"
#include "xenpv/async/cpu_pool.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/async/nursery.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/xen/custodian.hpp"
#include "xenpv/xen/suspend_clock.hpp"

namespace xenpv::async {
namespace {

std::optional<xen::custodian> start_custodian(bool wanted) {
  if (!wanted) return std::nullopt;
  return xen::custodian::start();
}

/// What removes the resume marker of a process that died.
const std::string marker_cleanup = "xenpv resume marker";

std::vector<unsigned> chosen_cpus(std::vector<unsigned> cpus) {
  if (cpus.empty()) cpus = allowed_cpus();
  return cpus;
}

cpu_pool_options named(std::string thread_name) {
  cpu_pool_options options;
  options.thread_name = std::move(thread_name);
  return options;
}

/// For what nobody will be told by an exception.
void report(std::string_view where, const std::exception_ptr& error) {
  if (!error) return;
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    log().error("{}: {}", where, e.what());
  } catch (...) {
    log().error("{}: an exception of an unknown type", where);
  }
}

}  // namespace

struct runtime::state {
  // The order of construction is that of need: the custodian before any thread, the CPU threads
  // before what lives on them. The store client comes before the threads, too: failing to reach
  // xenstore is the common failure, and costs nothing then.
  explicit state(runtime_options options)
      : guardian(start_custodian(options.with_custodian)),
        store(control.get_executor(), xen::store::open()),
        pool(chosen_cpus(std::move(options.cpus)), named(std::move(options.thread_name))),
        loops(pool.size()),
        background(control.get_executor()),
        resumes(control.get_executor(), store, suspends, [this] { return give_up_handles(); }) {}

  asio::awaitable<void> open_loops();
  asio::awaitable<void> close_loops();
  asio::awaitable<void> give_up_handles();
  /// For ever: has a custodian that dies replaced.
  asio::awaitable<void> follow_custodian();
  /// Devices that were not closed in order are closed by the custodian, while the pages they share
  /// still exist.
  void end_cleanups();
  asio::awaitable<void> live(runtime& self, std::function<asio::awaitable<void>(runtime&)> main);
  /// Until it is dry. As on the CPU threads, what leaves a handler does not end the thread: what
  /// lives on it can still be taken down. Returns the first of them.
  std::exception_ptr run_control();
  std::exception_ptr join_pool();

  asio::io_context control{1};
  xen::suspend_clock suspends;  ///< the loops ask it, on their threads
  std::optional<xen::custodian> guardian;
  store_client store;
  cpu_pool pool;
  std::vector<std::unique_ptr<event_loop>> loops;
  nursery background;
  resume_guard resumes;
};

struct resume_hook::entry {
  std::weak_ptr<resume_callbacks> list;
  resume_callbacks::iterator at;
};

resume_hook::resume_hook() noexcept = default;
resume_hook::resume_hook(std::unique_ptr<entry> made) noexcept : entry_(std::move(made)) {}
resume_hook::resume_hook(resume_hook&&) noexcept = default;
resume_hook& resume_hook::operator=(resume_hook&& other) noexcept {
  resume_hook before(std::move(*this));
  entry_ = std::move(other.entry_);
  return *this;
}
resume_hook::~resume_hook() {
  if (!entry_) return;
  if (const auto list = entry_->list.lock()) list->erase(entry_->at);
}

asio::awaitable<void> runtime::state::open_loops() {
  for (std::size_t i = 0; i < pool.size(); ++i) {
    auto open = [this, i] {
      event_loop_options options;
      options.custodian = guardian ? &*guardian : nullptr;
      options.suspends = &suspends;
      options.doubted = [this] { asio::post(control, [this] { resumes.doubt(); }); };
      // One CPU needs no steering, and a simulated guest has no IRQs to steer.
      if (pool.size() > 1) options.irq_cpu = pool.cpu(i);
      loops[i] = std::make_unique<event_loop>(pool.context(i), std::move(options));
    };
    co_await call_on(pool.executor(i), std::move(open));
  }
}

asio::awaitable<void> runtime::state::close_loops() {
  for (std::size_t i = 0; i < pool.size(); ++i) {
    auto close = [this, i] { loops[i].reset(); };
    co_await call_on(pool.executor(i), std::move(close));
  }
}

asio::awaitable<void> runtime::state::give_up_handles() {
  // Before the loops: from then on whatever they do with the old handles is harmless. The loops'
  // part has to follow in any case: a port they still take for live would be unbound, which is the
  // kernel's BUG.
  try {
    if (guardian) guardian->resumed();
  } catch (const std::exception& e) {
    log().error("{}", e.what());
  }
  std::exception_ptr error;
  for (std::size_t i = 0; i < pool.size(); ++i) {
    auto give_up = [this, i] { loops[i]->resumed(); };
    try {
      co_await call_on(pool.executor(i), std::move(give_up));
    } catch (...) {
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

asio::awaitable<void> runtime::state::follow_custodian() {
  constexpr auto token = asio::as_tuple(asio::use_awaitable);
  asio::steady_timer pause(control);
  for (;;) {
    boost::system::error_code code;
    bool is_alive = false;
    try {
      auto end = guardian->end_descriptor();
      asio::posix::stream_descriptor watched(control, end.get());
      static_cast<void>(end.release());
      std::tie(code) =
          co_await watched.async_wait(asio::posix::stream_descriptor::wait_error, token);
      is_alive = code || guardian->revive();
    } catch (const std::exception& e) {
      log().error("follow the custodian: {}", e.what());
    }
    if (!is_alive) {
      pause.expires_after(std::chrono::seconds(1));
      std::tie(code) = co_await pause.async_wait(token);
    }
    if (code) co_return;
  }
}

void runtime::state::end_cleanups() {
  if (!guardian) return;
  guardian->clear_cleanup(marker_cleanup);
  guardian->clean_up();
}

asio::awaitable<void> runtime::state::live(runtime& self,
                                           std::function<asio::awaitable<void>(runtime&)> main) {
  std::exception_ptr error;
  try {
    co_await open_loops();
    co_await resumes.start();
    if (guardian && !resumes.marker().empty())
      guardian->set_cleanup(marker_cleanup, {xen::cleanup_remove{resumes.marker()}});
    if (guardian) background.spawn(follow_custodian());
    co_await main(self);
  } catch (...) {
    error = std::current_exception();
  }
  // Closing a handle from before a resume is the kernel's BUG, so a last look.
  co_await resumes.stop();
  end_cleanups();
  background.cancel();
  co_await background.join();
  co_await close_loops();
  co_await store.close();
  if (error) std::rethrow_exception(error);
}

runtime::runtime(runtime_options options) : state_(std::make_unique<state>(std::move(options))) {}

std::exception_ptr runtime::state::run_control() {
  std::exception_ptr first;
  for (;;) {
    try {
      control.run();
      return first;
    } catch (...) {
      const auto error = std::current_exception();
      // At once: this program may go on for months.
      report("on the control thread", error);
      if (!first) first = error;
    }
  }
}

std::exception_ptr runtime::state::join_pool() {
  pool.stop();
  try {
    pool.join();
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

runtime::~runtime() {
  if (state_->control.stopped()) return;
  // Never run: the client still has to be taken down on its own thread.
  const auto report_here = [](const std::exception_ptr& error) {
    report("on the control thread", error);
  };
  asio::co_spawn(state_->control, state_->store.close(), report_here);
  static_cast<void>(state_->run_control());
}

void runtime::run(std::function<asio::awaitable<void>(runtime&)> main) {
  std::exception_ptr error;
  asio::co_spawn(state_->control, shield_completion(state_->live(*this, std::move(main))),
                 [&](std::exception_ptr thrown) { error = std::move(thrown); });
  const auto on_control = state_->run_control();
  const auto on_cpu = state_->join_pool();
  if (!error) error = on_control;
  if (!error) error = on_cpu;
  if (error) std::rethrow_exception(error);
}

resume_hook runtime::on_resume(std::function<void()> callback) {
  const auto& list = state_->resumes.callbacks();
  const auto at = list->insert(list->end(), std::move(callback));
  return resume_hook(std::make_unique<resume_hook::entry>(resume_hook::entry{list, at}));
}

asio::awaitable<bool> runtime::check_resume() {
  return state_->resumes.check();
}

std::uint64_t runtime::resumes() const noexcept {
  return state_->resumes.resumes();
}

asio::any_io_executor runtime::control() {
  return state_->control.get_executor();
}

store_client& runtime::store() noexcept {
  return state_->store;
}

xen::custodian* runtime::custodian() noexcept {
  return state_->guardian ? &*state_->guardian : nullptr;
}

std::size_t runtime::cpus() const noexcept {
  return state_->pool.size();
}

asio::any_io_executor runtime::executor(std::size_t index) {
  return state_->pool.executor(index);
}

asio::io_context& runtime::context(std::size_t index) {
  return state_->pool.context(index);
}

event_loop& runtime::loop(std::size_t index) {
  return *state_->loops.at(index);
}

}  // namespace xenpv::async
