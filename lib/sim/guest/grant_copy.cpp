#include "sim/guest/grant_copy.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "sim/guest/attachment.hpp"
#include "sim/guest/device_file.hpp"
#include "sim/guest/xen_abi.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::sim::guest {
namespace {

/// One side of a copy: local memory, or a file and an offset in it.
struct copy_side {
  void* local = nullptr;
  int file = -1;
  off_t offset = 0;
};

/// Looks up the foreign side of a copy in the shared grant table. Returns a GNTST_* status.
int16_t find_grant(attachment& host, uint32_t ref, uint16_t domid, uint16_t offset, bool writing,
                   copy_side& side) {
  auto& state = host.state();
  const auto self = state.domains[host.slot()].domain.load();
  const auto owner = domid == raw(domid_self) ? self : domid;
  for (std::size_t slot = 0; slot < max_domains; ++slot) {
    auto& domain = state.domains[slot];
    if (domain.generation.load() == 0 || domain.domain.load() != owner) continue;
    if (ref >= max_grants) return GNTST_bad_gntref;
    const auto entry =
        grant_table_entry::unpack(domain.grants[ref].load(std::memory_order_acquire));
    const bool usable = (entry.flags & grant_in_use) != 0 && entry.grantee == self &&
                        !(writing && (entry.flags & grant_read_only) != 0);
    if (!usable) return GNTST_general_error;
    side.file = host.memory(static_cast<std::uint8_t>(slot));
    side.offset = off_t{entry.page} * off_t{page_size} + off_t{offset};
    return side.file < 0 ? int16_t{GNTST_bad_domain} : int16_t{GNTST_okay};
  }
  return GNTST_bad_domain;
}

int16_t copy_bytes(const copy_side& source, const copy_side& destination, std::size_t size) {
  std::vector<char> bounce(size);
  const void* bytes = source.local;
  if (source.local == nullptr) {
    void* buffer = destination.local != nullptr ? destination.local : bounce.data();
    if (::pread(source.file, buffer, size, source.offset) != static_cast<ssize_t>(size))
      return GNTST_general_error;
    if (destination.local != nullptr) return GNTST_okay;
    bytes = buffer;
  }
  return ::pwrite(destination.file, bytes, size, destination.offset) == static_cast<ssize_t>(size)
             ? int16_t{GNTST_okay}
             : int16_t{GNTST_general_error};
}

/// Returns false for a segment that makes gntdev reject the whole call before it copies anything.
bool is_well_formed(const ioctl_gntdev_grant_copy_segment& segment) {
  constexpr unsigned both = GNTCOPY_source_gref | GNTCOPY_dest_gref;
  if ((segment.flags & both) == 0) return false;
  const auto fits = [&](const auto& side) {
    return std::size_t{side.foreign.offset} + segment.len <= page_size;
  };
  return ((segment.flags & GNTCOPY_source_gref) == 0 || fits(segment.source)) &&
         ((segment.flags & GNTCOPY_dest_gref) == 0 || fits(segment.dest));
}

int16_t copy_segment(attachment& host, const ioctl_gntdev_grant_copy_segment& segment) {
  copy_side source;
  copy_side destination;
  int16_t status = GNTST_okay;
  if ((segment.flags & GNTCOPY_source_gref) != 0)
    status = find_grant(host, segment.source.foreign.ref, segment.source.foreign.domid,
                        segment.source.foreign.offset, false, source);
  else
    source.local = segment.source.virt;
  if (status != GNTST_okay) return status;
  if ((segment.flags & GNTCOPY_dest_gref) != 0)
    status = find_grant(host, segment.dest.foreign.ref, segment.dest.foreign.domid,
                        segment.dest.foreign.offset, true, destination);
  else
    destination.local = segment.dest.virt;
  return status == GNTST_okay ? copy_bytes(source, destination, segment.len) : status;
}

}  // namespace

int grant_copy(void* argument) noexcept {
  const auto& request = *static_cast<ioctl_gntdev_grant_copy*>(argument);
  auto* host = attachment::current();
  if (host == nullptr) return -1;
  const std::span segments(request.segments, request.count);
  if (!std::all_of(segments.begin(), segments.end(), is_well_formed)) return fail(EINVAL);
  for (auto& segment : segments)
    segment.status = copy_segment(*host, segment);
  return 0;
}

}  // namespace xenpv::sim::guest
