// Whether the guest was saved and restored since some moment: then event-channel handles from
// before must not be touched, not even closed (xen/custodian.hpp). Asks xenstore, so not for hot
// paths.
#pragma once

#include <chrono>
#include <optional>

#include "xenpv/xen/store.hpp"

namespace xenpv::diag {

class resume_watch {
 public:
  resume_watch();

  /// True for ever once seen. Two signs: the domain has another number, or the time that only
  /// CLOCK_BOOTTIME counts has grown. A restore on another host under the same number, within a
  /// millisecond, would go unseen.
  [[nodiscard]] bool has_resumed();

 private:
  std::optional<xen::store> store_;
  std::optional<domid> domain_;
  std::chrono::nanoseconds suspended_;
  bool resumed_ = false;
};

}  // namespace xenpv::diag
