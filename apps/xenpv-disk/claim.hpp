// A disk that is ours to drive: found, locked against other servers, taken from the kernel's driver
// last, and given back to it when it cannot be connected. What serve, run, attach and bench share.
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

/// Throws `failure` when the disk cannot be driven by this process: the guest drives its emulated
/// twin, the kernel's driver holds it and --take was not given, or somebody uses it. Changes
/// nothing.
void check_claim(const blkfront::listed_device& disk, const device_options& options);

struct connected_disk {
  std::unique_ptr<blkfront::frontend> device;
  bool taken = false;  ///< from the kernel's driver, by this process
};

/// Checks the claim again, takes the disk from the kernel's driver if that holds it, and connects
/// it. What else a command needs should be ready by now: a disk that cannot be connected is given
/// back. `identity` as in blkfront::frontend::open_again(). Throws `failure`.
[[nodiscard]] async::asio::awaitable<connected_disk> connect_disk(async::runtime& runtime,
                                                                  blkfront::listed_device disk,
                                                                  device_options options,
                                                                  std::string identity);

/// Gives a disk that was taken, and is closed, back to the kernel's driver; logs how that went.
[[nodiscard]] async::asio::awaitable<void> give_back(async::runtime& runtime,
                                                     blkfront::listed_device disk);

}  // namespace xenpv::disk_app
