// The system calls that a server may make after its start, as determined with --sandbox=log.
#pragma once

#include "confinement.hpp"
#include "sandbox/call_policy.hpp"

namespace xenpv::disk_app {

[[nodiscard]] sandbox::call_policy calls_of_a_server(const confinement_needs& needs);

}  // namespace xenpv::disk_app
