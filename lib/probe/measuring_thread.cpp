#include "probe/measuring_thread.hpp"

#include <utility>

namespace xenpv::probe {

worker::worker(std::function<void()> work)
    : thread_([this, work = std::move(work)] {
        try {
          work();
        } catch (...) {
          thrown_ = std::current_exception();
        }
      }) {}

worker::~worker() {
  if (thread_.joinable()) thread_.join();
}

std::exception_ptr worker::finish() {
  thread_.join();
  return thrown_;
}

}  // namespace xenpv::probe
