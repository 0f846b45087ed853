#include "sandbox/call_policy.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

// Missing in the headers of Debian 12.
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

namespace xenpv::sandbox {
namespace {

constexpr std::uint64_t namespace_flags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |
                                          CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
                                          CLONE_NEWNET;

}  // namespace

call_policy& call_policy::allow(std::string_view call, std::vector<argument_condition> conditions) {
  rules_.push_back({std::string(call), std::move(conditions), 0});
  return *this;
}

call_policy& call_policy::allow_all(std::initializer_list<std::string_view> calls) {
  for (const auto call : calls)
    allow(call);
  return *this;
}

call_policy& call_policy::fail(std::string_view call, int error,
                               std::vector<argument_condition> conditions) {
  rules_.push_back({std::string(call), std::move(conditions), error});
  return *this;
}

call_policy& call_policy::add(const call_policy& other) {
  rules_.insert(rules_.end(), other.rules_.begin(), other.rules_.end());
  return *this;
}

call_policy& call_policy::allow_ioctl(unsigned long request) {
  return allow("ioctl", {argument_is(1, static_cast<std::uint32_t>(request))});
}

call_policy& call_policy::allow_socket(int family) {
  const auto condition = argument_is(0, static_cast<std::uint32_t>(family));
  return allow("socket", {condition}).allow("socketpair", {condition});
}

call_policy& call_policy::allow_prctl(int option) {
  return allow("prctl", {argument_is(0, static_cast<std::uint32_t>(option))});
}

call_policy runtime_calls() {
  const auto self = static_cast<std::uint32_t>(::getpid());
  call_policy out;
  // If one of these failed, the process would crash or hang instead of reporting an error.
  out.allow_all({"exit",
                 "exit_group",
                 "rt_sigreturn",
                 "restart_syscall",
                 "futex",
                 "futex_waitv",
                 "set_robust_list",
                 "get_robust_list",
                 "rseq",
                 "set_tid_address",
                 "munmap",
                 "brk",
                 "madvise",
                 "mremap",
                 "rt_sigaction",
                 "rt_sigprocmask",
                 "rt_sigpending",
                 "rt_sigtimedwait",
                 "sigaltstack",
                 "membarrier",
                 "sched_yield",
                 "pause"});
  // The address of an executable mapping or a new protection is never needed after start.
  for (const auto* const call : {"mmap", "mprotect", "pkey_mprotect"})
    out.allow(call, {argument_lacks(2, PROT_EXEC)});
  out.allow_all({"msync", "mlock", "mlock2", "munlock", "mlockall", "munlockall", "mincore"});
  out.allow_all({"clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday",
                 "time", "times"});
  out.allow_all({"getpid",  "gettid",  "getppid",   "getuid",    "geteuid",
                 "getgid",  "getegid", "getresuid", "getresgid", "getgroups",
                 "getpgid", "getpgrp", "getsid",    "capget",    "uname",
                 "sysinfo", "getcpu",  "getrusage", "getrandom", "umask"});
  // Signals only to this process: abort(3), pthread_kill(3), pthread_cancel(3).
  for (const auto* const call : {"kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"})
    out.allow(call, {argument_is(0, self)});
  // Limits and scheduling of this process and its threads. prlimit64 with another process needs
  // CAP_SYS_RESOURCE or the same user, so it is limited to this process.
  for (const auto process : {0U, self})
    out.allow("prlimit64", {argument_is(0, process)});
  out.allow_all({"getrlimit", "sched_getaffinity", "sched_getscheduler", "sched_getparam",
                 "sched_get_priority_max", "sched_get_priority_min", "getpriority"});
  // Allowed only for the calling thread: this process must not affect the user's other processes,
  // and a filter cannot know this process's thread IDs.
  for (const auto* const call : {"sched_setaffinity", "sched_setscheduler", "sched_setparam"})
    out.allow(call, {argument_is(0, 0)});
  out.allow("setpriority", {argument_is(0, PRIO_PROCESS), argument_is(1, 0)});
  for (const int option :
       {PR_SET_NAME, PR_GET_NAME, PR_GET_DUMPABLE, PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS,
        PR_SET_NO_NEW_PRIVS, PR_GET_SECCOMP, PR_SET_TIMERSLACK, PR_GET_TIMERSLACK, PR_SET_VMA})
    out.allow_prctl(option);
  return out;
}

call_policy thread_calls() {
  call_policy out;
  out.fail("clone3", ENOSYS);
  constexpr std::uint64_t thread_flags = CLONE_THREAD | CLONE_VM;
  out.allow("clone", {{0, thread_flags | namespace_flags, thread_flags}});
  // The complement, bit by bit, because a filter can compare only for equality.
  for (std::uint64_t bit = 1; bit != 0; bit <<= 1) {
    if ((thread_flags & bit) != 0) out.fail("clone", EPERM, {{0, bit, 0}});
    if ((namespace_flags & bit) != 0) out.fail("clone", EPERM, {{0, bit, bit}});
  }
  return out;
}

call_policy descriptor_calls() {
  call_policy out;
  out.allow_all({"read",        "readv",    "pread64",  "preadv",         "preadv2",   "write",
                 "writev",      "pwrite64", "pwritev",  "pwritev2",       "lseek",     "close",
                 "close_range", "dup",      "dup2",     "dup3",           "fstat",     "fsync",
                 "fdatasync",   "fstatfs",  "flock",    "ftruncate",      "fallocate", "pipe",
                 "pipe2",       "splice",   "sendfile", "copy_file_range"});
  // Without F_SETOWN and F_SETSIG, which let the kernel kill another process of the same user.
  for (const int command : {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GETLK,
                            F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_ADD_SEALS,
                            F_GET_SEALS, F_GETPIPE_SZ, F_SETPIPE_SZ})
    out.allow("fcntl", {argument_is(1, static_cast<std::uint32_t>(command))});
  // In glibc 2.33 and later, fstat(3) calls fstatat(2) with an empty path. A filter cannot
  // distinguish this from a call with a path, which reveals no more than stat(2).
  out.allow_all({"newfstatat", "statx"});
  return out;
}

call_policy waiting_calls() {
  call_policy out;
  out.allow_all({"epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
                 "epoll_pwait2", "poll", "ppoll", "select", "pselect6", "eventfd", "eventfd2",
                 "timerfd_create", "timerfd_settime", "timerfd_gettime", "signalfd", "signalfd4"});
  return out;
}

call_policy socket_calls() {
  call_policy out;
  out.allow_all({"accept", "accept4", "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg",
                 "sendmmsg", "getsockopt", "setsockopt", "getsockname", "getpeername", "shutdown",
                 "listen"});
  return out;
}

call_policy open_calls() {
  call_policy out;
  out.allow_all({"open", "openat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat",
                 "faccessat2", "readlink", "readlinkat", "getdents64", "getcwd", "statfs"});
  // A filter cannot check openat2's flags, which it takes by pointer. The C library does not use
  // it.
  out.fail("openat2", ENOSYS);
  return out;
}

call_policy change_file_calls() {
  call_policy out;
  out.allow_all({"creat",  "rename",  "renameat",  "renameat2", "unlink",   "unlinkat",
                 "mkdir",  "mkdirat", "rmdir",     "chmod",     "fchmod",   "fchmodat",
                 "chown",  "fchown",  "fchownat",  "lchown",    "truncate", "link",
                 "linkat", "symlink", "symlinkat", "utimensat"});
  return out;
}

}  // namespace xenpv::sandbox
