// What a process needs that serves the disk which the system swaps to: when memory is short, it
// must go on without getting any.
#pragma once

namespace xenpv::disk_app {

/// Locks this process's memory, present and future; keeps freed memory instead of giving it back;
/// tells the kernel that its threads serve I/O, so that no allocation of theirs waits for I/O
/// (PR_SET_IO_FLUSHER); asks not to be killed for memory. Threads started later inherit it. Throws
/// `failure` that names the right that is missing.
void prepare_for_swap();

}  // namespace xenpv::disk_app
