// Hypercalls of intercepted processes: copies the arguments that the simulated hypercalls use from
// and to the memory of the process.
#pragma once

#include "sim/guest/privcmd.hpp"
#include "sim/guest/xen_abi.hpp"
#include "sim/intercept/system_call.hpp"

namespace xenpv::sim::intercept {

/// Makes a hypercall whose arguments are addresses in the calling process. The process must be the
/// current one (see processes). Returns the result, or -1 with errno set.
[[nodiscard]] int forward_hypercall(const system_call& caller, guest::privcmd_file& file,
                                    privcmd_hypercall_t call);

}  // namespace xenpv::sim::intercept
