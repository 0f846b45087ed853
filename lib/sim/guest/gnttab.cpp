// The gnttab functions of libxengnttab in the simulator. Foreign pages are mapped from the granting
// domain's memfd. Grant copy reads the shared grant table and copies through that memfd, without
// involving another process.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "sim/guest/attachment.hpp"
#include "sim/guest/grant_device.hpp"
#include "sim/guest/mappings.hpp"
#include "sim/guest/xen_abi.hpp"
#include "xenpv/base/types.hpp"

using xenpv::page_size;
using xenpv::sim::control_op;
using xenpv::sim::grant_table_entry;
using xenpv::sim::guest::attachment;
using xenpv::sim::guest::map_pages;
using xenpv::sim::guest::page_source;

namespace {

xenpv::sim::guest::mapping_table& mappings() {
  static auto* table = new xenpv::sim::guest::mapping_table;
  return *table;
}

void* fail(int error) {
  errno = error;
  return nullptr;
}

/// Maps (domain, ref) pairs. Stores the mapping ID in `id`.
void* map(const std::vector<std::uint32_t>& grants, int prot, std::uint32_t& id) {
  auto* host = attachment::current();
  if (host == nullptr) return nullptr;
  if (grants.empty() || grants.size() > xenpv::sim::control_words_max) return fail(EINVAL);
  const auto answer = host->call(control_op::map, (prot & PROT_WRITE) != 0 ? 1 : 0, 0, 0, grants);
  if (answer.error != 0) return fail(answer.error);
  id = static_cast<std::uint32_t>(answer.a);
  std::vector<page_source> pages;
  bool reachable = true;
  for (std::size_t i = 0; i + 1 < answer.words.size(); i += 2) {
    const int file = host->memory(static_cast<std::uint8_t>(answer.words[i]));
    reachable = reachable && file >= 0;
    pages.push_back({file, answer.words[i + 1]});
  }
  void* address = reachable ? map_pages(pages, prot) : nullptr;
  if (address == nullptr) {
    const int saved = errno;
    (void)host->call(control_op::unmap, id);
    return fail(saved);
  }
  mappings().insert(address, {id, pages.size()});
  return address;
}

std::vector<std::uint32_t> pair_up(uint32_t count, const uint32_t* domids, std::size_t step,
                                   const uint32_t* refs) {
  std::vector<std::uint32_t> grants;
  for (std::size_t i = 0; i < count; ++i) {
    grants.push_back(domids[i * step]);
    grants.push_back(refs[i]);
  }
  return grants;
}

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
  const auto owner = domid == raw(xenpv::domid_self) ? self : domid;
  for (std::size_t slot = 0; slot < xenpv::sim::max_domains; ++slot) {
    auto& domain = state.domains[slot];
    if (domain.generation.load() == 0 || domain.domain.load() != owner) continue;
    if (ref >= xenpv::sim::max_grants) return GNTST_bad_gntref;
    const auto entry =
        grant_table_entry::unpack(domain.grants[ref].load(std::memory_order_acquire));
    const bool usable = (entry.flags & xenpv::sim::grant_in_use) != 0 && entry.grantee == self &&
                        !(writing && (entry.flags & xenpv::sim::grant_read_only) != 0);
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
bool is_well_formed(const xengnttab_grant_copy_segment_t& segment) {
  constexpr unsigned both = GNTCOPY_source_gref | GNTCOPY_dest_gref;
  if ((segment.flags & both) == 0) return false;
  const auto fits = [&](const auto& side) {
    return std::size_t{side.foreign.offset} + segment.len <= page_size;
  };
  return ((segment.flags & GNTCOPY_source_gref) == 0 || fits(segment.source)) &&
         ((segment.flags & GNTCOPY_dest_gref) == 0 || fits(segment.dest));
}

int16_t copy_segment(attachment& host, const xengnttab_grant_copy_segment_t& segment) {
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

int without_dmabuf() {
  errno = ENOTTY;  // as on a kernel without CONFIG_XEN_GNTDEV_DMABUF, such as Debian's
  return -1;
}

}  // namespace

extern "C" {

xengnttab_handle* xengnttab_open(xentoollog_logger*, unsigned) {
  return xenpv::sim::guest::open_grant_device(O_CLOEXEC);
}

int xengnttab_close(xengnttab_handle* handle) {
  return xenpv::sim::guest::close_grant_device(handle);
}

int xengnttab_fd(xengnttab_handle* handle) {
  return handle->fd;
}

int xengnttab_set_max_grants(xengnttab_handle*, uint32_t) {
  return 0;
}

void* xengnttab_map_grant_ref(xengnttab_handle* handle, uint32_t domid, uint32_t ref, int prot) {
  return xengnttab_map_grant_refs(handle, 1, &domid, &ref, prot);
}

void* xengnttab_map_grant_refs(xengnttab_handle*, uint32_t count, uint32_t* domids, uint32_t* refs,
                               int prot) {
  std::uint32_t id = 0;
  return map(pair_up(count, domids, 1, refs), prot, id);
}

void* xengnttab_map_domain_grant_refs(xengnttab_handle*, uint32_t count, uint32_t domid,
                                      uint32_t* refs, int prot) {
  std::uint32_t id = 0;
  return map(pair_up(count, &domid, 0, refs), prot, id);
}

void* xengnttab_map_grant_ref_notify(xengnttab_handle* handle, uint32_t domid, uint32_t ref,
                                     int prot, uint32_t notify_offset, evtchn_port_t notify_port) {
  std::uint32_t id = 0;
  void* address = map({domid, ref}, prot, id);
  if (address == nullptr) return nullptr;
  const int error =
      xenpv::sim::guest::set_notice(control_op::map_notice, id, notify_offset, notify_port);
  if (error == 0) return address;
  xengnttab_unmap(handle, address, 1);
  return fail(error);
}

int xengnttab_unmap(xengnttab_handle*, void* start_address, uint32_t count) {
  const auto known = mappings().take(start_address, count);
  if (!known) {
    errno = EINVAL;
    return -1;
  }
  if (::munmap(start_address, count * page_size) != 0) return -1;
  if (auto* host = attachment::current()) (void)host->call(control_op::unmap, known->id);
  return 0;
}

int xengnttab_grant_copy(xengnttab_handle*, uint32_t count, xengnttab_grant_copy_segment_t* segs) {
  auto* host = attachment::current();
  if (host == nullptr) return -1;
  for (uint32_t i = 0; i < count; ++i) {
    if (is_well_formed(segs[i])) continue;
    errno = EINVAL;
    return -1;
  }
  for (uint32_t i = 0; i < count; ++i)
    segs[i].status = copy_segment(*host, segs[i]);
  return 0;
}

int xengnttab_dmabuf_exp_from_refs(xengnttab_handle*, uint32_t, uint32_t, uint32_t, const uint32_t*,
                                   uint32_t*) {
  return without_dmabuf();
}

int xengnttab_dmabuf_exp_wait_released(xengnttab_handle*, uint32_t, uint32_t) {
  return without_dmabuf();
}

int xengnttab_dmabuf_imp_to_refs(xengnttab_handle*, uint32_t, uint32_t, uint32_t, uint32_t*) {
  return without_dmabuf();
}

int xengnttab_dmabuf_imp_release(xengnttab_handle*, uint32_t) {
  return without_dmabuf();
}

}  // extern "C"
