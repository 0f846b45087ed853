// The gntshr functions of libxengnttab in the simulator. Pages are allocated from the domain's
// memfd, so that peers can map them. They stay granted until they are unshared or the process
// exits.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <vector>

#include "sim/guest/attachment.hpp"
#include "sim/guest/grant_device.hpp"
#include "sim/guest/mappings.hpp"
#include "sim/guest/xen_abi.hpp"
#include "xenpv/base/types.hpp"

using xenpv::page_size;
using xenpv::sim::control_op;
using xenpv::sim::guest::attachment;
using xenpv::sim::guest::map_pages;
using xenpv::sim::guest::page_source;

namespace {

xenpv::sim::guest::mapping_table& shares() {
  static auto* table = new xenpv::sim::guest::mapping_table;
  return *table;
}

void* fail(int error) {
  errno = error;
  return nullptr;
}

/// Shares and maps pages. Stores the share ID in `id`.
void* share(uint32_t domid, int count, uint32_t* refs, int writable, std::uint32_t& id) {
  auto* host = attachment::current();
  if (host == nullptr) return nullptr;
  if (count <= 0) return fail(EINVAL);
  const auto answer = host->call(control_op::share, domid, writable != 0 ? 1 : 0,
                                 static_cast<std::uint64_t>(count));
  if (answer.error != 0) return fail(answer.error);
  id = static_cast<std::uint32_t>(answer.a);
  const int file = host->memory(host->slot());
  std::vector<page_source> pages;
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    pages.push_back({file, answer.words[2 * i]});
    refs[i] = answer.words[2 * i + 1];
  }
  void* address = file < 0 ? nullptr : map_pages(pages, PROT_READ | PROT_WRITE);
  if (address == nullptr) {
    const int saved = errno;
    (void)host->call(control_op::unshare, id);
    return fail(saved);
  }
  shares().insert(address, {id, static_cast<std::size_t>(count)});
  return address;
}

}  // namespace

extern "C" {

xengntshr_handle* xengntshr_open(xentoollog_logger*, unsigned) {
  // Like libxengnttab, open gntdev with O_CLOEXEC but gntalloc without it: programs can observe
  // this.
  return xenpv::sim::guest::open_grant_device(0);
}

int xengntshr_close(xengntshr_handle* handle) {
  return xenpv::sim::guest::close_grant_device(handle);
}

int xengntshr_fd(xengntshr_handle* handle) {
  return handle->fd;
}

void* xengntshr_share_pages(xengntshr_handle*, uint32_t domid, int count, uint32_t* refs,
                            int writable) {
  std::uint32_t id = 0;
  return share(domid, count, refs, writable, id);
}

void* xengntshr_share_page_notify(xengntshr_handle* handle, uint32_t domid, uint32_t* ref,
                                  int writable, uint32_t notify_offset, evtchn_port_t notify_port) {
  std::uint32_t id = 0;
  void* address = share(domid, 1, ref, writable, id);
  if (address == nullptr) return nullptr;
  const int error =
      xenpv::sim::guest::set_notice(control_op::share_notice, id, notify_offset, notify_port);
  if (error == 0) return address;
  xengntshr_unshare(handle, address, 1);
  return fail(error);
}

int xengntshr_unshare(xengntshr_handle*, void* start_address, uint32_t count) {
  const auto known = shares().take(start_address, count);
  const int result = ::munmap(start_address, count * page_size);
  if (!known || result != 0) return result;
  if (auto* host = attachment::current()) (void)host->call(control_op::unshare, known->id);
  return 0;
}

}  // extern "C"
