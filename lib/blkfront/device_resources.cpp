#include "blkfront/device_resources.hpp"

#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <map>
#include <memory>

#include <utility>

#include "blkfront/layout.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/xen/grant_share.hpp"
#include "xenpv/xen/guest.hpp"

namespace xenpv::blkfront {

struct resource_share::account {
  std::vector<std::size_t> queues;  ///< number of queues on each CPU
  std::size_t pages = 0;            ///< pages granted by all frontends
};

/// Attaches the accounts to the control context: one for each session that uses the context, shared
/// by the session's frontends.
class resource_share::service : public asio::execution_context::service {
 public:
  using key_type = service;
  static asio::execution_context::id id;

  explicit service(asio::execution_context& context) : asio::execution_context::service(context) {}

  std::shared_ptr<account> account_of(const async::guest_session& session) {
    auto& entry = accounts_[&session];
    auto shared = entry.lock();
    if (!shared) entry = shared = std::make_shared<account>();
    return shared;
  }

 private:
  void shutdown() override {}

  std::map<const async::guest_session*, std::weak_ptr<account>> accounts_;
};

asio::execution_context::id resource_share::service::id;

namespace {

/// The default limit of xen-gntalloc.
constexpr std::size_t default_page_limit = 1024;

bool can_grant(xen::grant_sharer& sharer, domid backend, std::size_t pages) {
  try {
    (void)sharer.share(backend, pages, true);
    return true;
  } catch (const failure&) {
    return false;
  }
}

}  // namespace

resource_share::resource_share(async::guest_session& session) {
  auto& context = asio::query(session.control(), asio::execution::context);
  account_ = asio::use_service<service>(context).account_of(session);
  account_->queues.resize(session.cpus());
}

resource_share::~resource_share() {
  give_cpus_back();
  set_pages(0);
}

std::vector<std::size_t> resource_share::take_cpus(std::size_t count) {
  give_cpus_back();
  cpus_ = choose_cpus(account_->queues, count);
  for (const auto cpu : cpus_)
    ++account_->queues[cpu];
  return cpus_;
}

void resource_share::give_cpus_back() noexcept {
  for (const auto cpu : cpus_)
    --account_->queues[cpu];
  cpus_.clear();
}

std::size_t resource_share::page_budget(domid backend) const {
  const auto limit = xen::read_guest_facts().gntalloc_limit.value_or(default_page_limit);
  auto budget = first_budget(limit, account_->pages - pages_);
  auto sharer = xen::grant_sharer::open();
  while (budget > least_pages && !can_grant(sharer, backend, 2 * budget))
    budget = std::max(least_pages, budget - budget / 4);
  return budget;
}

void resource_share::set_pages(std::size_t pages) noexcept {
  account_->pages += pages;
  account_->pages -= std::exchange(pages_, pages);
}

}  // namespace xenpv::blkfront
