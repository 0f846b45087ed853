#include "async/blocking_calls_thread.hpp"

#include <pthread.h>

#include <csignal>

namespace xenpv::async {

std::unique_ptr<boost::asio::thread_pool> make_thread_for_blocking_calls() {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::sigdelset(&all, SIGSYS);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    auto out = std::make_unique<boost::asio::thread_pool>(1);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return out;
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}

}  // namespace xenpv::async
