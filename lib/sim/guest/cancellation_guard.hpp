// Disables pthread_cancel(3) for this thread for the lifetime of the object. A message to the host
// must not be interrupted between the request and its reply.
#pragma once

#include <pthread.h>

namespace xenpv::sim::guest {

class cancellation_guard {
 public:
  cancellation_guard() noexcept { ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  ~cancellation_guard() { ::pthread_setcancelstate(before_, nullptr); }
  cancellation_guard(const cancellation_guard&) = delete;
  cancellation_guard& operator=(const cancellation_guard&) = delete;

 private:
  int before_ = PTHREAD_CANCEL_ENABLE;
};

}  // namespace xenpv::sim::guest
