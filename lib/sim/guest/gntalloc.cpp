#include "sim/guest/gntalloc.hpp"

#include <algorithm>
#include <vector>

#include "sim/guest/attachment.hpp"
#include "sim/guest/grant_notice.hpp"
#include "sim/guest/mapped_pages.hpp"
#include "sim/guest/xen_abi.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::sim::guest {
namespace {

struct released_grants {
  std::mutex mutex;
  std::vector<std::uint32_t> ids;
};

// Never destroyed: exit handlers of other libraries may release pages.
released_grants& released() {
  static auto* grants = new released_grants;
  return *grants;
}

}  // namespace

class granted_page final : public mapped_object {
 public:
  granted_page(std::uint32_t share_id, std::uint32_t memory_page)
      : id(share_id), page(memory_page) {}
  ~granted_page() override {
    const std::lock_guard lock(released().mutex);
    released().ids.push_back(id);
  }

  const std::uint32_t id;    ///< the host's share ID
  const std::uint32_t page;  ///< the index in the domain's memory
};

void end_released_grants() noexcept {
  std::vector<std::uint32_t> ids;
  {
    const std::lock_guard lock(released().mutex);
    ids.swap(released().ids);
  }
  auto* host = ids.empty() ? nullptr : attachment::current();
  if (host == nullptr) return;
  for (std::size_t i = 0; i < ids.size(); i += control_words_max)
    (void)host->call(control_op::unshare, 0, 0, 0,
                     std::span(ids).subspan(i, std::min(control_words_max, ids.size() - i)));
}

gntalloc_file::gntalloc_file() = default;

gntalloc_file::~gntalloc_file() {
  pages_.clear();
  end_released_grants();
}

int gntalloc_file::ioctl(unsigned long request, void* argument) {
  const std::lock_guard lock(mutex_);
  switch (request) {
    case IOCTL_GNTALLOC_ALLOC_GREF:
      return argument == nullptr ? fail(EFAULT) : allocate(argument);
    case IOCTL_GNTALLOC_DEALLOC_GREF:
      return argument == nullptr ? fail(EFAULT) : deallocate(argument);
    case IOCTL_GNTALLOC_SET_UNMAP_NOTIFY:
      return argument == nullptr ? fail(EFAULT) : set_notice(argument);
    default:
      return fail(ENOTTY);
  }
}

int gntalloc_file::allocate(void* argument) {
  auto& request = *static_cast<ioctl_gntalloc_alloc_gref*>(argument);
  auto* host = attachment::current();
  if (host == nullptr) return -1;
  const bool writable = (request.flags & GNTALLOC_FLAG_WRITABLE) != 0;
  request.index = next_offset_;
  if (request.count == 0) return 0;
  const auto answer = host->call(control_op::share, request.domid, writable ? 1 : 0, request.count);
  if (answer.error != 0) return fail(answer.error);
  for (std::uint32_t i = 0; i < request.count; ++i) {
    pages_[next_offset_] = std::make_shared<granted_page>(static_cast<std::uint32_t>(answer.a) + i,
                                                          answer.words[std::size_t{2} * i]);
    request.gref_ids[i] = answer.words[std::size_t{2} * i + 1];
    next_offset_ += page_size;
  }
  return 0;
}

int gntalloc_file::deallocate(void* argument) {
  const auto& request = *static_cast<ioctl_gntalloc_dealloc_gref*>(argument);
  const auto first = pages_.find(request.index);
  auto last = first;
  for (std::uint32_t i = 0; i < request.count; ++i, ++last)
    if (last == pages_.end() || last->first != request.index + i * page_size) return fail(EINVAL);
  pages_.erase(first, last);
  end_released_grants();
  return 0;
}

int gntalloc_file::set_notice(void* argument) {
  const auto& request = *static_cast<ioctl_gntalloc_unmap_notify*>(argument);
  const auto page = pages_.find(request.index - request.index % page_size);
  if (page == pages_.end()) return fail(ENOENT);
  return guest::set_notice(control_op::share_notice, page->second->id,
                           {request.index % page_size, request.action, request.event_channel_port});
}

void* gntalloc_file::mmap(void* address, std::size_t size, int protection, int flags,
                          off_t offset) {
  if ((flags & MAP_SHARED) == 0 || size == 0) return fail_map(EINVAL);
  auto* host = attachment::current();
  const int file = host == nullptr ? -1 : host->memory(host->slot());
  if (file < 0) return MAP_FAILED;
  std::vector<page_source> sources;
  {
    const std::lock_guard lock(mutex_);
    for (std::size_t done = 0; done < size; done += page_size) {
      const auto page = pages_.find(static_cast<std::uint64_t>(offset) + done);
      if (page == pages_.end()) return fail_map(ENOENT);
      sources.push_back({file, page->second->page, page->second});
    }
  }
  return map_pages(sources, address, protection, flags);
}

}  // namespace xenpv::sim::guest
