// Claims a disk for this process: finds it, locks it against other servers, takes it from the
// kernel's driver last, and gives it back if it cannot be connected. Shared by serve, run, attach
// and bench.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "device_options.hpp"
#include "kept_device.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/blkfront/device_list.hpp"
#include "xenpv/blkfront/frontend.hpp"

namespace xenpv::disk_app {

/// The directory for files of running servers: sockets, locks, pid files. Created on demand.
[[nodiscard]] std::string runtime_directory();

struct locked_disk {
  blkfront::listed_device disk;
  /// Held while the disk is in use: two servers would take it from each other.
  unique_fd lock;
  std::optional<kept_device> kept;  ///< left behind for it
};

/// Locks the disk called `name`. Throws `failure` if there is none, or if it is already served.
/// Waits for the custodian of a dead server: it closes the disk, and a new connection must not
/// begin before. Refuses a disk for which a kernel device was left behind, unless `keep`.
[[nodiscard]] async::asio::awaitable<locked_disk> lock_disk(async::runtime& runtime,
                                                            std::string name, bool keep = false);

/// Whether a process has locked the disk of that name.
[[nodiscard]] bool is_locked(const std::string& name);

/// Throws `failure` if this process cannot drive the disk: the guest drives its emulated twin, the
/// kernel's driver holds it and --take was not given, or it is in use. Changes nothing.
void check_claim(const blkfront::listed_device& disk, const device_options& options);

struct connected_disk {
  std::unique_ptr<blkfront::frontend> device;
  bool taken = false;  ///< from the kernel's driver, by this process
};

/// Checks the claim again, takes the disk from the kernel's driver if that holds it, and connects
/// it; gives back a disk that cannot be connected. All other preparations of a command should be
/// complete by now. `identity` as in blkfront::frontend::open_again(). Throws `failure`.
[[nodiscard]] async::asio::awaitable<connected_disk> connect_disk(async::runtime& runtime,
                                                                  blkfront::listed_device disk,
                                                                  device_options options,
                                                                  std::string identity);

/// Gives a closed disk that was taken back to the kernel's driver; logs the result.
[[nodiscard]] async::asio::awaitable<void> give_back(async::runtime& runtime,
                                                     blkfront::listed_device disk);

}  // namespace xenpv::disk_app
