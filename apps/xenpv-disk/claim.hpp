// Claims a disk for this process: finds it, locks it against other servers and, as the last step,
// takes it over from the kernel driver. If the disk cannot be connected, returns it to that driver.
// Shared by serve, run, attach and bench.
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

class confinement;

/// Returns the directory for the files of running servers: sockets, locks, PID files. Creates the
/// directory if necessary.
[[nodiscard]] std::string runtime_directory();

struct locked_disk {
  blkfront::listed_device disk;
  /// Held while the disk is in use: otherwise, two servers could take the disk from each other.
  unique_fd lock;
  std::optional<kept_device> kept;  ///< kernel device that a previous server left behind
};

/// Locks the disk with this name. Throws `failure` if there is no such disk, or if another process
/// serves it. If the previous server of the disk crashed, waits until that server's custodian has
/// closed the disk, because a new connection must not begin earlier. Refuses a disk with a kernel
/// device that a previous server left behind, unless `keep` is set.
[[nodiscard]] asio::awaitable<locked_disk> lock_disk(async::runtime& runtime, std::string name,
                                                     bool keep = false);

/// True if a process has locked the disk with this name.
[[nodiscard]] bool is_locked(const std::string& name);

/// Throws `failure` if this process cannot drive the disk: the guest uses the emulated twin of the
/// disk (the same disk as an emulated IDE or SCSI disk), the kernel driver is using the disk and
/// --take was not given, or the disk is in use. Changes nothing.
void check_claim(const blkfront::listed_device& disk, const device_options& options);

struct connected_disk {
  std::unique_ptr<blkfront::frontend> device;
  bool taken = false;  ///< this process took the disk from the kernel driver
};

/// Checks the claim again, takes the disk over from the kernel driver if necessary, and connects
/// it. If the disk cannot be connected, returns it to that driver. Call after all other
/// preparations of a command. See blkfront::frontend::open_again() for `identity`. Throws
/// `failure`.
[[nodiscard]] asio::awaitable<connected_disk> connect_disk(async::runtime& runtime,
                                                           blkfront::listed_device disk,
                                                           device_options options,
                                                           std::string identity);

/// Returns a closed disk that was taken over from the kernel driver to that driver, and logs the
/// result. Uses `confined` unless it is null.
[[nodiscard]] asio::awaitable<void> give_back(async::runtime& runtime, blkfront::listed_device disk,
                                              confinement* confined = nullptr);

}  // namespace xenpv::disk_app
