// Detects that the guest was saved and restored since this object was made. Event-channel handles
// from before a resume must not be used, not even closed (xen/custodian.hpp). For users without a
// runtime, which detects resumes itself. Queries xenstore, so not for hot paths.
#pragma once

#include <optional>

#include "xenpv/xen/store.hpp"
#include "xenpv/xen/suspend_clock.hpp"

namespace xenpv::xen {

class resume_watch {
 public:
  resume_watch();

  /// True for ever after the first detection. There are two signs: the domain id has changed, or
  /// the guest was suspended or has another incarnation (suspend_clock). It is therefore also true
  /// after a cancelled suspend. For undetected suspends see suspend_clock.hpp.
  [[nodiscard]] bool has_resumed();

 private:
  suspend_clock suspends_;
  std::optional<store> store_;
  std::optional<domid> domain_;
  bool resumed_ = false;
};

}  // namespace xenpv::xen
