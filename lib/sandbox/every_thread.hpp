// Runs a function on every thread of this process. Linux keeps capabilities, no_new_privs, Landlock
// rules and signal masks per thread, and a thread can change only its own.
//
// Stateless for its callers. Interrupts the threads with the signal that the C library reserves for
// setuid(2) and its relatives, because libraries (libxenstore, for example) start threads that
// block all others.
#pragma once

#include <csignal>

namespace xenpv::sandbox {

/// Runs in a signal handler, so it may only make system calls. Returns 0 or an errno value.
using thread_function = int (*)(const void* argument) noexcept;

/// Runs `function` with `argument` on all threads, on the calling thread last, and returns when all
/// are done. Includes threads that start during the call. `operation` describes the function in
/// error messages. Do not call while another thread calls setuid(2) or a similar function. Throws
/// `failure`: the first error, or errc::timed_out if a thread does not respond within seconds.
void run_on_every_thread(thread_function function, const void* argument, const char* operation);

/// Removes `signal` from the signal masks of all threads. Throws as run_on_every_thread() does.
void unblock_on_every_thread(int signal);

}  // namespace xenpv::sandbox
