// The failure to set up an io_uring for ublk's commands, and its remedy.
#pragma once

namespace xenpv::ublk {

/// Throws `failure` if `code`, a result of liburing, is a negative errno. `action`: the operation.
void check_ring_setup(int code, const char* action);

}  // namespace xenpv::ublk
