// A disk that is ours to drive: found, locked against other servers, asked for from the kernel's
// driver. What serve, run, attach and bench do first.
#pragma once

#include <optional>
#include <string>

#include "kept_device.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/blkfront/device_list.hpp"

namespace xenpv::disk_app {

/// Files of running servers: sockets, locks, pid files. Made if need be.
[[nodiscard]] std::string runtime_directory();

struct locked_disk {
  blkfront::listed_device disk;
  /// Held as long as the disk is in use: two servers would take it from each other.
  unique_fd lock;
  std::optional<kept_device> kept;  ///< left behind for it
};

/// The disk that `word` means. Throws `failure` when there is none, or when it is served already.
/// Waits for the custodian of a server that died: it closes the disk, and a new connection must not
/// begin before.
/// Refuses a disk that a kernel device was left behind for, unless `keep`.
[[nodiscard]] async::asio::awaitable<locked_disk> lock_disk(async::runtime& on, std::string word,
                                                            bool keep = false);

/// Whether some process has the disk of that name.
[[nodiscard]] bool is_locked(const std::string& name);

/// Unbinds the kernel's driver if it holds the disk; without `take` that is an error which says
/// what to do.
void take_if_held(const blkfront::listed_device& disk, bool take);

}  // namespace xenpv::disk_app
