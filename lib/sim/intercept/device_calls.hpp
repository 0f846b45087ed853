// The devices of intercepted processes: answers open(2), ioctl(2) and write(2) with the drivers of
// libxensim.so. Keeps no table of descriptors: an open file description is recognised by its inode,
// so dup(2), fork(2), execve(2), SCM_RIGHTS and close(2) need no attention. The supervisor keeps no
// descriptor of an open device, so the host notices when the last one is closed.
//
// Pages cannot be mapped in this way: mmap(2) on a device must map pages that are scattered over
// the memory of several domains, and the driver must learn of every munmap(2). Opening gntdev or
// gntalloc therefore fails with ENODEV.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "sim/guest/open_devices.hpp"
#include "sim/guest/privcmd.hpp"
#include "sim/intercept/filter.hpp"
#include "sim/intercept/processes.hpp"
#include "sim/intercept/system_call.hpp"

namespace xenpv::sim::intercept {

class device_calls {
 public:
  /// `pipe_descriptor`: any pipe; identifies the file system of pipes.
  device_calls(processes& callers, const descriptor_range& evtchn, int pipe_descriptor);

  /// Answers a call that opens a device.
  void open(system_call& call, guest::device_kind kind, int flags);
  /// Answer the system calls with these names. Calls on other files run natively.
  /// @{
  void ioctl(system_call& call);
  void write(system_call& call);
  void writev(system_call& call);
  /// @}

 private:
  using inode = std::pair<dev_t, ino_t>;
  using privcmd_description = std::shared_ptr<guest::privcmd_file>;
  /// An iovec of the calling process.
  struct remote_bytes {
    std::uint64_t address;
    std::uint64_t size;
  };
  struct open_privcmd_file {
    inode id;
    privcmd_description description;  ///< nullptr: not privcmd
  };

  void open_evtchn(system_call& call, int flags);
  void open_privcmd(system_call& call, int flags);
  /// Returns the lowest number in the evtchn range that is free in the calling process.
  [[nodiscard]] std::optional<unsigned> find_free_descriptor(const system_call& call) const;
  /// Returns the evtchn handle of a descriptor, and makes its process the current one.
  [[nodiscard]] std::optional<std::uint64_t> find_handle(const system_call& call, int fd);
  void remember_handle(guest::attachment& host, ino_t file, std::uint64_t handle);
  [[nodiscard]] open_privcmd_file find_privcmd(const system_call& call, int fd) const;
  void evtchn_ioctl(system_call& call, std::uint32_t request);
  void privcmd_ioctl(system_call& call, std::uint32_t request);
  /// Answers a write to evtchn.
  void unmask(system_call& call, std::uint64_t handle, std::span<const remote_bytes> parts);

  processes& processes_;
  descriptor_range evtchn_range_;
  dev_t pipe_device_ = 0;
  std::map<ino_t, std::uint64_t> handles_;  ///< may contain closed handles
  std::map<inode, privcmd_description> restricted_files_;
  std::set<guest::device_kind> warned_;  ///< refused devices that have been reported
};

}  // namespace xenpv::sim::intercept
