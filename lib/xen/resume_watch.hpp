// Detects whether the guest was saved and restored since this object was created. Event-channel
// handles opened before a resume must not be used or even closed (xen/custodian.hpp). For code
// without a guest session; a session detects resumes itself. Queries xenstore, so it is not
// suitable for hot paths.
#pragma once

#include <optional>

#include "xenpv/xen/store.hpp"
#include "xenpv/xen/suspend_clock.hpp"

namespace xenpv::xen {

class resume_watch {
 public:
  resume_watch();

  /// Stays true after the first detection. There are two indicators of a resume: a changed domain
  /// ID, and a suspend or new incarnation of the guest (suspend_clock). The result is therefore
  /// also true after a cancelled suspend. suspend_clock.hpp lists the suspends that are not
  /// detected.
  [[nodiscard]] bool has_resumed();

 private:
  suspend_clock suspends_;
  std::optional<store> store_;
  std::optional<domid> domain_;
  bool resumed_ = false;
};

}  // namespace xenpv::xen
