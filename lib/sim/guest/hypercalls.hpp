// The hypercalls that the simulator answers, from the shared tables: the status of event channels,
// the list of domains, and the version. All others fail with ENOSYS, and the host logs each kind
// once, so that a missing one has a name.
#pragma once

#include <cstdint>

#include "sim/guest/attachment.hpp"
#include "sim/guest/xen_abi.hpp"

namespace xenpv::sim::guest {

/// Returns the result of the hypercall, or -1 with errno set to the hypervisor's error.
int hypercall(attachment& host, privcmd_hypercall_t& call) noexcept;

/// Reports a call that is not simulated to the host, and fails with ENOSYS. `command` is the
/// hypercall's or ioctl's subcommand.
int not_simulated(attachment& host, call_kind kind, std::uint64_t number,
                  std::uint64_t command = 0) noexcept;

}  // namespace xenpv::sim::guest
