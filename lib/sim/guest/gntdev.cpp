#include "sim/guest/gntdev.hpp"

#include <optional>
#include <vector>

#include "sim/guest/attachment.hpp"
#include "sim/guest/grant_copy.hpp"
#include "sim/guest/grant_notice.hpp"
#include "sim/guest/mapped_pages.hpp"
#include "sim/guest/xen_abi.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::sim::guest {

/// Pages that are mapped together.
class grant_map final : public mapped_object {
 public:
  grant_map(std::uint64_t file_offset, std::vector<std::uint32_t> mapped_grants)
      : offset(file_offset), grants(std::move(mapped_grants)) {}
  ~grant_map() override {
    auto* host = id || notice ? attachment::current() : nullptr;
    if (host == nullptr) return;
    if (id)
      (void)host->call(control_op::unmap, *id);
    else if ((notice->action & UNMAP_NOTIFY_SEND_EVENT) != 0)
      (void)send_event(host->state(), *host, host->slot(), notice->port);
  }

  [[nodiscard]] std::uint64_t size() const noexcept { return grants.size() / 2 * page_size; }

  const std::uint64_t offset;               ///< in the file
  const std::vector<std::uint32_t> grants;  ///< domain and reference of each page
  std::optional<std::uint32_t> id;          ///< the host's map ID, from mmap(2) on
  std::optional<unmap_notice> notice;       ///< set before mmap(2)
};

namespace {

/// Maps the grants at the host and returns the pages' locations, or nothing with errno set.
std::vector<page_source> map_at_host(const std::shared_ptr<grant_map>& map, bool writable) {
  std::vector<page_source> pages;
  auto* host = attachment::current();
  if (host == nullptr) return pages;
  const auto answer = host->call(control_op::map, writable ? 1 : 0, 0, 0, map->grants);
  if (answer.error != 0) {
    errno = answer.error;
    return pages;
  }
  map->id = static_cast<std::uint32_t>(answer.a);
  for (std::size_t i = 0; i + 1 < answer.words.size(); i += 2) {
    const int file = host->memory(static_cast<std::uint8_t>(answer.words[i]));
    if (file < 0) return {};
    pages.push_back({file, answer.words[i + 1], map});
  }
  return pages;
}

}  // namespace

gntdev_file::gntdev_file() = default;
gntdev_file::~gntdev_file() = default;

int gntdev_file::ioctl(unsigned long request, void* argument) {
  const bool has_argument = argument != nullptr;
  if (request == IOCTL_GNTDEV_GRANT_COPY) return has_argument ? grant_copy(argument) : fail(EFAULT);
  const std::lock_guard lock(mutex_);
  switch (request) {
    case IOCTL_GNTDEV_MAP_GRANT_REF:
      return has_argument ? add_map(argument) : fail(EFAULT);
    case IOCTL_GNTDEV_UNMAP_GRANT_REF:
      return has_argument ? remove_map(argument) : fail(EFAULT);
    case IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR:
      return has_argument ? find_map(argument) : fail(EFAULT);
    case IOCTL_GNTDEV_SET_UNMAP_NOTIFY:
      return has_argument ? set_notice(argument) : fail(EFAULT);
    default:
      // In particular SET_MAX_GRANTS, which current kernels no longer have, and the dma-buf
      // requests, as on a kernel without CONFIG_XEN_GNTDEV_DMABUF, such as Debian's.
      return fail(ENOTTY);
  }
}

int gntdev_file::add_map(void* argument) {
  auto& request = *static_cast<ioctl_gntdev_map_grant_ref*>(argument);
  if (request.count == 0 || request.count > control_words_max / 2) return fail(EINVAL);
  std::vector<std::uint32_t> grants;
  for (std::uint32_t i = 0; i < request.count; ++i) {
    grants.push_back(request.refs[i].domid);
    grants.push_back(request.refs[i].ref);
  }
  // Like the kernel, use the first gap that is larger than the map.
  std::uint64_t offset = 0;
  for (const auto& [start, map] : maps_) {
    if (offset + request.count * page_size < start) break;
    offset = start + map->size();
  }
  maps_[offset] = std::make_shared<grant_map>(offset, std::move(grants));
  request.index = offset;
  return 0;
}

int gntdev_file::remove_map(void* argument) {
  const auto& request = *static_cast<ioctl_gntdev_unmap_grant_ref*>(argument);
  const auto entry = maps_.find(request.index);
  if (entry == maps_.end() || entry->second->size() != request.count * page_size)
    return fail(ENOENT);
  maps_.erase(entry);
  return 0;
}

int gntdev_file::find_map(void* argument) const {
  auto& request = *static_cast<ioctl_gntdev_get_offset_for_vaddr*>(argument);
  const auto owner = owner_of_page(request.vaddr);
  const auto map = std::dynamic_pointer_cast<grant_map>(owner);
  if (map == nullptr) return fail(EINVAL);
  request.offset = map->offset;
  request.count = static_cast<std::uint32_t>(map->size() / page_size);
  return 0;
}

int gntdev_file::set_notice(void* argument) {
  const auto& request = *static_cast<ioctl_gntdev_unmap_notify*>(argument);
  const auto after = maps_.upper_bound(request.index);
  if (after == maps_.begin()) return fail(ENOENT);
  auto& map = *std::prev(after)->second;
  const auto offset = request.index - map.offset;
  if (offset >= map.size()) return fail(ENOENT);
  const unmap_notice notice{offset, request.action, request.event_channel_port};
  if (map.id) return guest::set_notice(control_op::map_notice, *map.id, notice);
  if (check_notice(notice) != 0) return -1;
  map.notice = notice;
  return 0;
}

void* gntdev_file::mmap(void* address, std::size_t size, int protection, int flags, off_t offset) {
  const bool writable = (protection & PROT_WRITE) != 0;
  if (writable && (flags & MAP_SHARED) == 0) return fail_map(EINVAL);
  const std::lock_guard lock(mutex_);
  const auto entry = maps_.find(static_cast<std::uint64_t>(offset));
  if (entry == maps_.end() || entry->second->size() != size) return fail_map(EINVAL);
  const auto map = entry->second;
  if (map->id) return fail_map(EBUSY);
  const auto pages = map_at_host(map, writable);
  void* mapped = pages.empty() ? MAP_FAILED : map_pages(pages, address, protection, flags);
  const bool notice_refused =
      mapped != MAP_FAILED && map->notice &&
      guest::set_notice(control_op::map_notice, *map->id, *map->notice) != 0;
  if (mapped != MAP_FAILED && !notice_refused) return mapped;
  const int saved = errno;
  if (notice_refused) (void)::munmap(mapped, size);
  if (map->id) (void)attachment::current()->call(control_op::unmap, *map->id);
  map->id.reset();
  errno = saved;
  return MAP_FAILED;
}

}  // namespace xenpv::sim::guest
