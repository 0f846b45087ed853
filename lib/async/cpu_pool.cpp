#include "xenpv/async/cpu_pool.hpp"

#include <pthread.h>

#include <fmt/format.h>
#include <boost/asio/executor_work_guard.hpp>

#include <exception>
#include <future>
#include <string_view>
#include <thread>

#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::async {

namespace {

/// Called immediately because the threads may not be joined for months.
void report(std::string_view thread, const std::exception_ptr& error) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    log().error("{}: a handler threw an exception: {}", thread, e.what());
  } catch (...) {
    log().error("{}: a handler threw an exception of unknown type", thread);
  }
}

}  // namespace

struct cpu_pool::worker {
  explicit worker(unsigned pinned_cpu) : cpu(pinned_cpu), work(context.get_executor()) {}

  unsigned cpu;
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work;
  std::promise<void> started;
  std::exception_ptr error;
  std::thread thread;
};

cpu_pool::cpu_pool(std::span<const unsigned> cpus, cpu_pool_options options)
    : options_(std::move(options)) {
  workers_.reserve(cpus.size());
  try {
    for (const auto cpu : cpus) {
      auto& fresh = *workers_.emplace_back(std::make_unique<worker>(cpu));
      auto started = fresh.started.get_future();
      fresh.thread = std::thread(&cpu_pool::run, this, std::ref(fresh));
      started.get();
    }
  } catch (...) {
    stop();
    wait_for_threads();
    throw;
  }
}

cpu_pool::~cpu_pool() {
  stop();
  // Exceptions thrown by handlers have already been logged.
  wait_for_threads();
}

unsigned cpu_pool::cpu(std::size_t index) const {
  return workers_.at(index)->cpu;
}

asio::io_context& cpu_pool::context(std::size_t index) {
  return workers_.at(index)->context;
}

asio::any_io_executor cpu_pool::executor(std::size_t index) {
  return context(index).get_executor();
}

void cpu_pool::stop() {
  for (const auto& entry : workers_)
    entry->work.reset();
}

void cpu_pool::join() {
  wait_for_threads();
  for (const auto& entry : workers_) {
    if (entry->error) std::rethrow_exception(std::exchange(entry->error, nullptr));
  }
}

void cpu_pool::wait_for_threads() noexcept {
  for (const auto& entry : workers_) {
    if (entry->thread.joinable()) entry->thread.join();
  }
}

void cpu_pool::run(worker& self) {
  const auto name = fmt::format("{}{}", options_.thread_name, self.cpu).substr(0, 15);
  try {
    ::pthread_setname_np(::pthread_self(), name.c_str());
    pin_this_thread(self.cpu);
  } catch (...) {
    self.started.set_exception(std::current_exception());
    return;
  }
  self.started.set_value();
  for (;;) {
    try {
      self.context.run();
      return;
    } catch (...) {
      report(name, std::current_exception());
      if (!self.error) self.error = std::current_exception();
      const bool first = !failure_reported_.test_and_set();
      if (first && options_.on_failure) options_.on_failure();
    }
  }
}

}  // namespace xenpv::async
