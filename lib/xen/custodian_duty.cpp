#include <fmt/format.h>

#include <algorithm>

#include "xen/custodian_process.hpp"

namespace xenpv::xen {
namespace {

custodian_reply refuse(errc code, std::string reason) {
  return {.refusal = static_cast<int>(code), .reason = std::move(reason)};
}

/// SCM_RIGHTS loses a descriptor that the receiver has no room for.
custodian_reply refuse_none() {
  return refuse(errc::limit_reached, "its descriptor table is full: raise ulimit -n");
}

}  // namespace

struct custodian_duty::visitor {
  custodian_duty& duty;
  unique_fd& descriptor;

  custodian_reply operator()(const keep_request&) const {
    if (!descriptor) return refuse_none();
    const auto id = duty.next_id_++;
    duty.releasable_.emplace(id, std::move(descriptor));
    return {.value = id};
  }

  custodian_reply operator()(const hold_request&) const {
    if (!descriptor) return refuse_none();
    duty.held_.push_back(std::move(descriptor));
    return {};
  }

  custodian_reply operator()(const release_request& request) const {
    if (duty.releasable_.erase(request.id) > 0 || duty.kept_for_ever_.contains(request.id))
      return {};
    return refuse(errc::invalid_argument, fmt::format("nothing is kept as {}", request.id));
  }

  custodian_reply operator()(const resumed_request&) const {
    ++duty.resumes_;
    duty.kept_for_ever_.merge(duty.releasable_);
    return {};
  }

  custodian_reply operator()(const set_cleanup_request& request) const {
    const auto known = std::ranges::find(duty.cleanups_, request.name, &named_cleanup::name);
    if (known != duty.cleanups_.end())
      known->steps = request.steps;
    else
      duty.cleanups_.push_back({request.name, request.steps});
    return {};
  }

  custodian_reply operator()(const clear_cleanup_request& request) const {
    std::erase_if(duty.cleanups_, [&](const auto& known) { return known.name == request.name; });
    return {};
  }

  custodian_reply operator()(const stop_request&) const {
    duty.stopped_ = true;
    duty.close_held();
    duty.close_releasable();
    return {.value = duty.must_stay() ? 1U : 0U};
  }
};

custodian_reply custodian_duty::handle(const custodian_request& request, unique_fd descriptor) {
  return std::visit(visitor{*this, descriptor}, request);
}

void custodian_duty::close_held() noexcept {
  held_.clear();
}

void custodian_duty::close_releasable() noexcept {
  releasable_.clear();
}

bool custodian_duty::must_stay() const noexcept {
  return !kept_for_ever_.empty();
}

}  // namespace xenpv::xen
