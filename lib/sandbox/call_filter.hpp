// Confines this process to the system calls of a call_policy (seccomp, by libseccomp).
//
// A call outside the policy fails with EPERM and is logged once, with its name and, for calls that
// multiplex (ioctl, prctl, socket), its request. The kernel raises SIGSYS for such a call, whose
// handler sets the result; a thread of this object writes the log. A number that libseccomp does
// not know fails with ENOSYS, so that a newer C library falls back to an older call. The filter
// cannot be circumvented from within the process; an in-process supervisor (SECCOMP_RET_USER_NOTIF)
// could be, so only mode `log` uses one.
//
// A denied call on a thread that blocks SIGSYS ends the process: the kernel cannot run the handler.
// The constructor unblocks SIGSYS on all threads that exist. Programs must not block it later, and
// a library's thread that does (libxenstore's, after a new connection) must make no denied calls.
// The calls that start processes and threads fail without a message: the C library blocks all
// signals around them.
//
// Owned by main(). The filter stays when the object ends, but denied calls are then not logged.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "sandbox/call_policy.hpp"

namespace xenpv::sandbox {

/// The treatment of calls outside the policy.
enum class filter_mode {
  off,  ///< no filter
  log,  ///< logged and carried out: to find out what a policy lacks
  on,   ///< logged and refused with EPERM
};

/// Whether this program is built with AddressSanitizer or ThreadSanitizer. Their runtimes make
/// additional system calls, start threads and trace the process.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool is_sanitized = true;
#else
inline constexpr bool is_sanitized = false;
#endif

/// The mode of programs that do not set one.
inline constexpr filter_mode default_mode = is_sanitized ? filter_mode::off : filter_mode::on;

/// "off", "log" or "on".
[[nodiscard]] std::string_view to_string(filter_mode mode) noexcept;

class call_filter {
 public:
  /// Installs the filter on all threads of this process, including future ones, and sets
  /// no_new_privs. The calls that this object needs are added to `policy`. Starts a thread first,
  /// so `policy` need not allow that. In mode `log`, writes a warning and installs no filter if
  /// another supervisor (a container's, or xenpv-sim --intercept-syscalls) or an old kernel
  /// prevents it. Throws `failure`: a name in `policy` is unknown (errc::invalid_argument), or the
  /// kernel has no seccomp (errc::not_available).
  call_filter(call_policy policy, filter_mode mode);
  ~call_filter();
  call_filter(const call_filter&) = delete;
  call_filter& operator=(const call_filter&) = delete;

  /// The number of calls outside the policy so far.
  [[nodiscard]] std::uint64_t denied() const noexcept;

 private:
  class reporter;

  std::unique_ptr<reporter> reporter_;  ///< nullptr: no filter
};

}  // namespace xenpv::sandbox
