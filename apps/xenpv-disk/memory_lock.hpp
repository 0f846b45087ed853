// Prepares a process to serve a disk on which the kernel, or the whole system, depends: when memory
// is short, the process must make progress without waiting for that disk, and must not be killed.
// Also undoes the settings for child processes, which inherit most of them.
#pragma once

namespace xenpv::disk_app {

/// The users of the server.
enum class served_for {
  clients,  ///< NBD clients; the settings are applied where permitted
  kernel,   ///< the kernel's page cache, which writes to the disk; logs a missing privilege
  swap,     ///< the swap device: also locks memory; a missing privilege is an error
};

/// Marks the threads of the process as serving I/O, so that their allocations do not wait for I/O
/// (PR_SET_IO_FLUSHER), and protects the process from the OOM killer. For the swap device, also
/// locks all present and future memory of this process, and keeps freed memory instead of returning
/// it. Threads started later and child processes inherit the settings, except for the memory lock.
/// May be called more than once. Throws a `failure` that names the missing privilege.
void protect_server(served_for user);

/// Undoes the inherited settings in a child process: those of protect_server(), and the limit on
/// descriptors. For use between fork() and exec(): only makes system calls.
void reset_inherited_settings() noexcept;

}  // namespace xenpv::disk_app
