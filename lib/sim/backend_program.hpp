// The programs that serve disks in place of the simulator's own backend: QEMU (backend=qemu-real)
// and the user's commands (backend=exec:COMMAND). Finds QEMU and builds command lines; does not
// start processes.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "sim/disk_spec.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::sim {

struct backend_program {
  std::vector<std::string> arguments;  ///< the program, then its arguments
  /// Variables in addition to domain_environment().
  std::map<std::string, std::string> environment;
};

/// Returns the path of the QEMU that serves PV disks: XENPV_SIM_QEMU if set, otherwise the first of
/// the usual paths that exists. Throws `failure` (errc::not_available) that lists the paths tried
/// and names Debian's package.
[[nodiscard]] std::filesystem::path find_qemu();

/// Returns the path of the monitor socket (QMP) of a guest's QEMU.
[[nodiscard]] std::filesystem::path qmp_socket(const std::filesystem::path& host_directory,
                                               domid domain);

/// Returns the command line with which libxl 4.17 starts QEMU for the disks of a PV guest. One QEMU
/// serves all disks of a guest: it reads only `backend/qdisk/DOMAIN`. `guest`: the guest's name.
[[nodiscard]] backend_program qemu_program(const std::filesystem::path& qemu,
                                           const std::filesystem::path& host_directory,
                                           domid domain, const std::string& guest);

/// Returns the command line for the disk's command, with environment variables that identify the
/// disk: see xenpv-sim(1), ENVIRONMENT.
[[nodiscard]] backend_program command_program(domid domain, const disk_spec& disk);

/// Checks that the external backends of these disks can be started: QEMU is installed, and QEMU's
/// files exist. Throws `failure`.
void require_backends(std::span<const disk_spec> disks);

}  // namespace xenpv::sim
