#include "async/low_priority_thread.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <cerrno>
#include <exception>
#include <thread>
#include <utility>

#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::async {
namespace {

/// On Linux, each thread has its own nice value. Without it, the thread still works.
void lower_priority(int niceness) {
  // 0, not the thread ID: the server's system-call filter permits only the calling thread.
  constexpr id_t self = 0;
  errno = 0;
  const int current = ::getpriority(PRIO_PROCESS, self);
  if (errno == 0 && ::setpriority(PRIO_PROCESS, self, current + niceness) == 0) return;
  log().debug("cannot lower the priority of a thread: {}", describe_errno(errno));
}

void run_until_done(asio::io_context& context, std::string_view name) {
  for (;;) {
    try {
      context.run();
      return;
    } catch (const std::exception& problem) {
      log().error("{}: a handler threw an exception: {}", name, problem.what());
    } catch (...) {
      log().error("{}: a handler threw an exception of unknown type", name);
    }
  }
}

}  // namespace

struct low_priority_thread::state {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  std::thread thread;
};

low_priority_thread::low_priority_thread(const std::string& name, int niceness)
    : state_(std::make_unique<state>()) {
  auto& context = state_->context;
  state_->thread = std::thread([&context, name = name.substr(0, 15), niceness] {
    ::pthread_setname_np(::pthread_self(), name.c_str());
    lower_priority(niceness);
    run_until_done(context, name);
  });
}

low_priority_thread::~low_priority_thread() {
  state_->work.reset();
  state_->thread.join();
}

asio::any_io_executor low_priority_thread::get_executor() {
  return state_->context.get_executor();
}

}  // namespace xenpv::async
