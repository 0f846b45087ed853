#include "cli/interruption.hpp"

#include <time.h>

#include <initializer_list>

namespace xenpv::cli {

interruption::interruption() {
  ::sigemptyset(&signals_);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP})
    ::sigaddset(&signals_, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals_, &mask_before_);
}

interruption::~interruption() {
  ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

bool interruption::is_asked() noexcept {
  constexpr timespec now{};
  if (!is_asked_) is_asked_ = ::sigtimedwait(&signals_, nullptr, &now) > 0;
  return is_asked_;
}

}  // namespace xenpv::cli
