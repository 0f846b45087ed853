// The custodian: a small process, forked before any thread starts, that holds a duplicate of every
// event-channel descriptor and outlives the main process.
//
// Why: closing the last reference to a handle that was open across save/restore is a kernel BUG
// (drivers/xen/evtchn.c, BUG_ON in evtchn_unbind_from_user), even at process exit. And if the main
// process dies, another process must inform the backend (Closing, Closed).
//
// Rules:
//  - clean stop, no resume: runs the cleanups still registered (a device that was closed in order
//    has cleared its own), closes its duplicates together with the main process and exits;
//  - after resumed(): keeps the duplicates it has at that time until power-off, even when the main
//    process is gone; treats descriptors received later normally again;
//  - main process dies (SIGKILL included): runs the registered cleanups, closes the descriptors
//    held only for them, then those that no resume affected; stays alive only if it must keep any.
// It ignores SIGTERM, SIGINT, SIGHUP and SIGQUIT. Thread: any; calls are serialised. It opens no
// event channel itself and connects to xenstore only while a cleanup runs.
//
// Replacement: this object keeps a duplicate of every descriptor that it passed on and a copy of
// every registration. If the custodian dies, this object executes the program xenpv-custodian in
// its place ($XENPV_CUSTODIAN if that is set, else beside the running program or in
// libexec/xenpv; located when this object is made) and passes on the same state. No call fails
// because the custodian is gone: its request is recorded here and passed to the next one. If the
// program is missing or does not start, an error with the remedy is logged, old handles stay open
// in this process, and each later call retries, at growing intervals of up to a minute.
//
// Limitations:
//  - The main process counts as alive while any process holds its end of the socket. The socket is
//    close-on-exec, so executed programs do not matter; a child that forks without exec must close
//    it or exit.
//  - A resume that the main process did not live to report is indistinguishable from a checkpoint:
//    after either the custodian keeps all handles, after a checkpoint needlessly. For the suspends
//    that it detects see suspend_clock.hpp.
//  - There is no protection against SIGKILL of both: a service manager must end the main process
//    only (systemd: KillMode=process; OpenRC: a pid file, not the name of the program).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::xen {

/// Writes a node.
struct cleanup_write {
  std::string path;
  std::string value;
};
/// Removes a node and its subtree; a missing node is no error.
struct cleanup_remove {
  std::string path;
};
/// Waits at most `at_most` until the node has one of `values` or is gone. The cleanup continues in
/// any case.
struct cleanup_wait {
  std::string path;
  std::vector<std::string> values;
  std::chrono::milliseconds at_most{};
};
using cleanup_step = std::variant<cleanup_write, cleanup_remove, cleanup_wait>;

class custodian {
 public:
  /// Identifies a kept descriptor.
  enum class kept_id : std::uint64_t {};

  /// Forks the custodian. Must run before any thread starts and throws `failure` otherwise: the
  /// child of a threaded process may inherit locks that are never released.
  [[nodiscard]] static custodian start();

  custodian(custodian&&) noexcept;
  custodian& operator=(custodian&&) noexcept;
  /// Stops cleanly: calls clean_up(); the custodian then closes the descriptors it may close and
  /// exits. Does not wait for an exit that a resume forbids.
  ~custodian();

  /// Passes on a duplicate of `descriptor`; returns when the custodian has it, or when it is
  /// recorded for the next one. Call right after opening the handle and before its first bind.
  /// Throws errc::limit_reached if the custodian's descriptor table is full.
  [[nodiscard]] kept_id keep(int descriptor);
  /// Closes the custodian's duplicate, after the main process closed its own cleanly and without a
  /// resume. Returns when that is done, so that the ports are free. Ignored for descriptors kept
  /// across a resume; throws errc::invalid_argument for an id that is already released.
  void release(kept_id id);
  /// Passes on a duplicate of a descriptor that must outlive this process only until its cleanups
  /// have run, such as a lock on which a successor waits. The custodian closes it then, or at a
  /// clean stop, with or without a resume. Not for event channels. Best effort: errors are logged.
  /// Throws EBADF for an invalid descriptor.
  void hold(int descriptor);
  /// Reports that the guest was resumed: all descriptors kept so far are kept for ever. Returns
  /// when that is recorded. Cleanups stay registered, and their relative paths now refer to the new
  /// domain's nodes: register them again after reconnecting if absolute paths have changed.
  void resumed();

  /// Registers (or replaces) the steps to run if this process dies or stops without clearing them.
  /// Cleanups run in the order of their first registration; a failed step is logged, and the next
  /// one runs. All waits together take at most a minute. Best effort: errors are logged. Throws
  /// errc::limit_reached for more than 64 KiB of steps.
  void set_cleanup(const std::string& name, const std::vector<cleanup_step>& steps);
  void clear_cleanup(const std::string& name);

  /// Makes the custodian run and forget the cleanups still registered; returns when it has, or
  /// after 75 seconds. For the end of a program, while the pages that its devices share still
  /// exist: a device still registered then was not closed in order.
  void clean_up();

  /// A descriptor that hangs up (POLLHUP) when the current custodian dies; it never delivers data.
  /// Throws `failure`.
  [[nodiscard]] unique_fd end_descriptor() const;
  /// Checks that the custodian is alive and starts another one if it is not. False if there is none
  /// afterwards: call again a second later. Blocks for milliseconds, at worst for a few seconds.
  [[nodiscard]] bool revive();

  /// The process id of the current custodian.
  [[nodiscard]] pid_t process() const noexcept;

 private:
  struct connection;
  explicit custodian(std::unique_ptr<connection> c) noexcept;
  std::unique_ptr<connection> connection_;
};

}  // namespace xenpv::xen
