// Whether the guest was saved and restored since some moment: then event-channel handles from
// before must not be touched, not even closed (xen/custodian.hpp). For who has no runtime, which
// notices by itself. Asks xenstore, so not for hot paths.
#pragma once

#include <optional>

#include "xenpv/xen/store.hpp"
#include "xenpv/xen/suspend_clock.hpp"

namespace xenpv::xen {

class resume_watch {
 public:
  resume_watch();

  /// True for ever once seen. Two signs: the domain has another number, or the guest was suspended
  /// or is of another incarnation (suspend_clock); so also after a suspend that was cancelled. What
  /// goes unseen: suspend_clock.hpp.
  [[nodiscard]] bool has_resumed();

 private:
  suspend_clock suspends_;
  std::optional<store> store_;
  std::optional<domid> domain_;
  bool resumed_ = false;
};

}  // namespace xenpv::xen
