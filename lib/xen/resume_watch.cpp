#include "xen/resume_watch.hpp"

#include "xenpv/base/error.hpp"

namespace xenpv::xen {

resume_watch::resume_watch() {
  try {
    store_.emplace(store::open());
    domain_ = store_->own_domid();
  } catch (const failure&) {
    // Without xenstore, only the suspend clock can indicate a resume.
    store_.reset();
  }
}

bool resume_watch::has_resumed() {
  if (resumed_) return true;
  resumed_ = suspends_.has_moved();
  if (!resumed_ && store_ && domain_) {
    try {
      resumed_ = store_->own_domid() != domain_;
    } catch (const failure&) {
      // Without xenstored, assume that old handles are unsafe.
      resumed_ = true;
    }
  }
  return resumed_;
}

}  // namespace xenpv::xen
