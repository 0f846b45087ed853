#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "xen/custodian_process.hpp"

namespace xenpv::xen {
namespace {

custodian_reply refuse(errc code, std::string reason) {
  return {.refusal = static_cast<int>(code), .reason = std::move(reason)};
}

/// The kernel drops a descriptor sent with SCM_RIGHTS if the receiver's descriptor table is full.
custodian_reply refuse_lost_descriptor() {
  return refuse(errc::limit_reached, "the custodian's descriptor table is full: raise ulimit -n");
}

}  // namespace

struct custodian_duty::visitor {
  custodian_duty& duty;
  unique_fd& descriptor;

  custodian_reply operator()(const keep_request& request) const {
    if (!descriptor) return refuse_lost_descriptor();
    const bool is_new = !duty.kept_for_ever_.contains(request.id) &&
                        duty.releasable_.emplace(request.id, std::move(descriptor)).second;
    if (is_new) return {};
    return refuse(errc::invalid_argument, fmt::format("id {} is in use", request.id));
  }

  custodian_reply operator()(const hold_request&) const {
    if (!descriptor) return refuse_lost_descriptor();
    duty.held_.push_back(std::move(descriptor));
    return {};
  }

  custodian_reply operator()(const release_request& request) const {
    if (duty.releasable_.erase(request.id) > 0 || duty.kept_for_ever_.contains(request.id))
      return {};
    return refuse(errc::invalid_argument, fmt::format("no descriptor has id {}", request.id));
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

  custodian_reply operator()(const clean_up_request&) const {
    duty.cleanups_.clear();
    return {};
  }

  custodian_reply operator()(const stop_request&) const {
    duty.stopped_ = true;
    duty.cleanups_.clear();
    duty.close_held();
    duty.close_releasable();
    return {.value = duty.must_stay() ? 1U : 0U};
  }
};

custodian_reply custodian_duty::handle(const custodian_request& request, unique_fd descriptor) {
  return std::visit(visitor{*this, descriptor}, request);
}

std::vector<std::pair<custodian_request, int>> custodian_duty::inventory() const {
  std::vector<std::pair<custodian_request, int>> requests;
  for (const auto& [id, descriptor] : kept_for_ever_)
    requests.emplace_back(keep_request{id}, descriptor.get());
  if (!kept_for_ever_.empty()) requests.emplace_back(resumed_request{}, -1);
  for (const auto& [id, descriptor] : releasable_)
    requests.emplace_back(keep_request{id}, descriptor.get());
  for (const auto& descriptor : held_)
    requests.emplace_back(hold_request{}, descriptor.get());
  for (const auto& cleanup : cleanups_)
    requests.emplace_back(set_cleanup_request{cleanup.name, cleanup.steps}, -1);
  return requests;
}

std::vector<named_cleanup> custodian_duty::take_cleanups() noexcept {
  return std::exchange(cleanups_, {});
}

void custodian_duty::leak_kept_for_ever() noexcept {
  for (auto& [id, descriptor] : std::exchange(kept_for_ever_, {}))
    static_cast<void>(descriptor.release());
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
