#include "probe/measuring_thread.hpp"

#include <utility>

#include "xenpv/async/cpu_set.hpp"

namespace xenpv::probe {

measuring_thread::measuring_thread(unsigned cpu, const std::optional<scheduling_wish>& request,
                                   std::function<void()> work)
    : thread_([this, cpu, request, work = std::move(work)] { run(cpu, request, work); }) {}

measuring_thread::~measuring_thread() {
  if (thread_.joinable()) thread_.join();
}

void measuring_thread::run(unsigned cpu, const std::optional<scheduling_wish>& request,
                           const std::function<void()>& work) noexcept {
  try {
    async::pin_this_thread(cpu);
    if (request) scheduling_ = take_scheduling(*request);
    set_phase(phase::ready);
    work();
  } catch (...) {
    thrown_ = std::current_exception();
    failed_ = true;
    if (phase_ == phase::starting) set_phase(phase::refused);
  }
}

void measuring_thread::set_phase(phase reached) noexcept {
  phase_ = reached;
  phase_.notify_all();
}

const scheduling& measuring_thread::wait_until_ready() {
  phase_.wait(phase::starting);
  if (phase_ == phase::refused) join();
  return scheduling_;
}

void measuring_thread::join() {
  thread_.join();
  if (thrown_) std::rethrow_exception(thrown_);
}

}  // namespace xenpv::probe
