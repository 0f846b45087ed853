// Confines a server: drops its privileges once its disks are connected and its sockets listen, and
// owns the helpers that keep the privileges needed later. SECURITY.md explains the boundaries.
//
// Created before other threads and before keys are read; apply() is the last step of the start.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.hpp"
#include "sandbox/call_filter.hpp"
#include "ublk/kernel.hpp"
#include "xenpv/nbd/kernel_driver.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::disk_app {

struct confinement_options {
  std::string user;  ///< empty: the default
  std::optional<sandbox::filter_mode> mode;
};
/// Adds --user and --sandbox.
void add_confinement_options(cli::command& command, confinement_options& options);

/// The resources that a server needs after its start, besides its open descriptors.
struct confinement_needs {
  bool kernel_device = false;  ///< attach
  bool ublk_device = false;    ///< set by confinement::use_ublk_device()
  bool syslog = false;         ///< it also logs to the log daemon
  bool lost_syslog = false;    ///< likewise, but it cannot reconnect; set by confinement::apply()
  bool swap = false;           ///< its helpers must not wait for the disk either
};

/// The NBD device of attach.
struct confined_device {
  std::optional<std::uint32_t> index;  ///< empty: the kernel chooses
  bool is_connected = false;           ///< a previous server left it behind
  std::string identifier;
};

class confinement {
 public:
  /// Chooses the user and starts the helpers. Throws `failure`.
  confinement(const confinement_options& options, confinement_needs needs);
  ~confinement();
  confinement(const confinement&) = delete;
  confinement& operator=(const confinement&) = delete;

  /// Makes this process execute its first custodian, and a helper each later one.
  [[nodiscard]] xen::custodian_starter custodian_starter();

  /// Declare the resources that the server uses after apply(). Call before apply().
  /// @{
  void add_disk(std::uint32_t number, const std::string& name);
  /// A path that the server reads again on a reload: a file, or a directory.
  void add_readable(const std::string& path);
  /// A file or socket that the server removes when it ends.
  void add_removed(const std::string& path);
  void use_device(const confined_device& device);
  /// A ublk device that this process has created or taken over.
  void use_ublk_device(std::uint32_t index, std::uint64_t token, const std::string& identifier);
  /// @}

  /// Warns if the server keeps root's user, and about files that a reload could not read. Ends the
  /// preparation of the helpers, drops the privileges of all threads, and restricts the files and
  /// system calls. Throws `failure`; the process must then end.
  void apply();

  [[nodiscard]] bool is_applied() const noexcept;

  /// Binds a declared disk to the kernel driver, or unbinds it. Throws `failure`.
  /// @{
  void bind(const std::string& disk);
  void unbind(const std::string& disk);
  /// @}
  /// Removes a declared file. Other files are removed by this process.
  void remove(const std::string& path) noexcept;

  /// Make the requests about the kernel device, which one of the functions above has declared.
  /// @{
  [[nodiscard]] std::shared_ptr<nbd::kernel_delegate> nbd_device();
  [[nodiscard]] std::shared_ptr<ublk::device_control> ublk_device();
  /// @}
  /// Records the NBD device for the next server, or removes the record of a device of either
  /// driver. Throw `failure`.
  /// @{
  void remember_device(std::uint64_t connections, std::uint64_t timeout,
                       const std::string& identity);
  void forget_device();
  /// @}

 private:
  class state;
  std::unique_ptr<state> state_;
};

/// Hides the memory of a process that is about to read keys: sandbox::hide_memory(), unless
/// this is a sanitizer build, which traces its own process.
void hide_keys();

/// Removes a file of the running server: through its confinement if it has one. Never throws.
void remove_server_file(const std::string& path) noexcept;

}  // namespace xenpv::disk_app
