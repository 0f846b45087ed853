#include "hang_up.hpp"

#include <fcntl.h>
#include <signal.h>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::disk_app {
namespace {

struct start_conditions {
  bool ignores_hang_ups = false;
  bool from_terminal = false;
};

start_conditions& remembered() noexcept {
  static start_conditions conditions;
  return conditions;
}

/// After the terminal was closed, its processes no longer have a controlling terminal.
bool has_terminal() noexcept {
  return static_cast<bool>(unique_fd(::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)));
}

}  // namespace

void remember_terminal() noexcept {
  struct sigaction action {};
  auto& conditions = remembered();
  conditions.ignores_hang_ups =
      ::sigaction(SIGHUP, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
  conditions.from_terminal = has_terminal();
}

bool hang_ups_are_ignored() noexcept {
  return remembered().ignores_hang_ups;
}

bool was_started_from_terminal() noexcept {
  return remembered().from_terminal && !remembered().ignores_hang_ups;
}

bool terminal_is_closed() noexcept {
  return was_started_from_terminal() && !has_terminal();
}

}  // namespace xenpv::disk_app
