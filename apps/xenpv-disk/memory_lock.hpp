// Prepares a process to serve the disk to which the system swaps: when memory is short, the process
// must make progress without allocating memory.
#pragma once

namespace xenpv::disk_app {

/// Locks all present and future memory of this process; keeps freed memory instead of returning it;
/// marks the threads of the process as serving I/O, so that their allocations do not wait for I/O
/// (PR_SET_IO_FLUSHER); protects the process from the OOM killer. Threads started later inherit the
/// settings. Throws a `failure` that names the missing privilege.
void prepare_for_swap();

}  // namespace xenpv::disk_app
