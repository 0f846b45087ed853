#include "xenpv/async/runtime.hpp"

#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <string_view>
#include <utility>

#include "base/log_output.hpp"
#include "xenpv/async/cpu_pool.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::async {
namespace {

std::vector<unsigned> chosen_cpus(std::vector<unsigned> cpus) {
  if (cpus.empty()) cpus = allowed_cpus();
  return cpus;
}

cpu_pool_options pool_options(std::string thread_name) {
  cpu_pool_options options;
  options.thread_name = std::move(thread_name);
  return options;
}

std::shared_ptr<xen::custodian> custodian_for(const runtime_options& options) {
  if (options.custodian) return options.custodian;
  if (!options.with_custodian) return nullptr;
  return std::make_shared<xen::custodian>(xen::custodian::start());
}

/// Logs an exception that might otherwise go unreported.
void log_exception(std::string_view context, const std::exception_ptr& error) {
  if (!error) return;
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    log().error("{}: {}", context, e.what());
  } catch (...) {
    log().error("{}: an exception of unknown type", context);
  }
}

}  // namespace

detail::runtime_contexts::runtime_contexts() = default;
detail::runtime_contexts::~runtime_contexts() = default;

// The session is created before the threads: the most common failure (xenstore is unreachable) then
// occurs before there are threads to stop.
runtime::runtime(runtime_options options)
    : guest_session(context_.get_executor(), custodian_for(options)) {
  if (options.with_log_thread) log_ = std::make_unique<background_log>();
  pool_ = std::make_unique<cpu_pool>(chosen_cpus(std::move(options.cpus)),
                                     pool_options(std::move(options.thread_name)));
  std::vector<session_cpu> cpus;
  for (std::size_t i = 0; i < pool_->size(); ++i) {
    cpus.push_back({.context = &pool_->context(i)});
    // IRQs need not be distributed over a single CPU, and a simulated guest does not have any.
    if (pool_->size() > 1) cpus.back().irq_cpu = pool_->cpu(i);
  }
  set_cpus(std::move(cpus));
}

asio::awaitable<void> runtime::run_main(std::function<asio::awaitable<void>(runtime&)> main) {
  auto body = [&]() -> asio::awaitable<void> {
    co_await open();
    co_await main(*this);
  };
  auto clean_up = [this] { return close(); };
  co_await finally(body(), clean_up);
}

std::exception_ptr runtime::run_control() {
  std::exception_ptr first;
  for (;;) {
    try {
      context_.run();
      return first;
    } catch (...) {
      const auto error = std::current_exception();
      // Log immediately: the program may run for months.
      log_exception("on the control thread", error);
      if (!first) first = error;
    }
  }
}

std::exception_ptr runtime::join_pool() {
  pool_->stop();
  try {
    pool_->join();
    return nullptr;
  } catch (...) {
    return std::current_exception();
  }
}

runtime::~runtime() {
  if (context_.stopped()) return;
  // run() was not called, but the xenstore client must still be closed on the control executor.
  const auto log_error = [](const std::exception_ptr& error) {
    log_exception("on the control thread", error);
  };
  asio::co_spawn(context_, store().close(), log_error);
  static_cast<void>(run_control());
}

void runtime::run(std::function<asio::awaitable<void>(runtime&)> main) {
  std::exception_ptr error;
  asio::co_spawn(context_, shield_completion(run_main(std::move(main))),
                 [&](std::exception_ptr thrown) { error = std::move(thrown); });
  const auto control_error = run_control();
  const auto pool_error = join_pool();
  log_.reset();
  if (!error) error = control_error;
  if (!error) error = pool_error;
  if (error) std::rethrow_exception(error);
}

}  // namespace xenpv::async
