// The custodian: a helper process that keeps duplicates of all event-channel descriptors open and
// closes devices after a crash. It outlives the main process. It is a separate program,
// xenpv-custodian, so it never has a copy of the main process's memory, such as keys, and it drops
// its privileges (custodian_main.cpp).
//
// Why: closing the last reference to a handle that was open across save/restore triggers a kernel
// BUG (drivers/xen/evtchn.c, BUG_ON in evtchn_unbind_from_user), even at process exit. In addition,
// if the main process dies, another process must inform the backends (Closing, Closed).
//
// Behaviour:
//  - clean stop without a resume: the custodian runs the cleanups that are still registered
//    (closing a device cleanly clears its cleanup), closes its duplicates when the main process
//    closes its descriptors, and exits;
//  - after resumed(): the custodian keeps its current duplicates open until power-off, even after
//    the main process has exited; descriptors received later are treated normally;
//  - death of the main process (including by SIGKILL): the custodian runs the registered cleanups,
//    closes all descriptors that need not stay open after a resume, and exits unless some
//    descriptor must stay open.
// The custodian ignores SIGTERM, SIGINT, SIGHUP and SIGQUIT. It does not open event channels
// itself, and connects to xenstore only while a cleanup runs. The members of this class may be
// called from any thread; calls are serialised.
//
// Replacement: this object keeps a duplicate of every descriptor that it sent to the custodian, and
// a copy of every registration. If the custodian dies, this object starts a replacement and sends
// it the same state. The program is $XENPV_CUSTODIAN if set; otherwise this object searches the
// directory of the running program and libexec/xenpv when it is created, and keeps the program
// open. Calls do not fail because the custodian has exited: this object records the request and
// sends it to the replacement. If a replacement does not start, an error with the remedy is logged,
// handles opened before a resume stay open in this process, and later calls retry at intervals that
// grow to a minute.
//
// Limitations:
//  - The main process counts as alive while its end of the socket is open in any process. The
//    socket is close-on-exec, so executed programs do not inherit it; a forked child that does not
//    call exec must close the socket or exit.
//  - If the main process dies before it reports a suspend, the custodian cannot distinguish a
//    resume from a checkpoint. It then keeps all handles open, which is needless after a
//    checkpoint. suspend_clock.hpp describes which suspends are detected.
//  - The cleanups do not run if both processes receive SIGKILL: a service manager must kill only
//    the main process (systemd: KillMode=process; OpenRC: use a PID file, not the program name).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::xen {

/// Writes a node.
struct cleanup_write {
  std::string path;   ///< relative to the domain's home directory, or absolute
  std::string value;  ///< the new value
};
/// Removes a node and its subtree; a missing node is not an error.
struct cleanup_remove {
  std::string path;  ///< as in cleanup_write
};
/// Waits until the node has one of `values` or no longer exists, but at most `at_most`. The cleanup
/// then continues even if the wait timed out.
struct cleanup_wait {
  std::string path;                     ///< as in cleanup_write
  std::vector<std::string> values;      ///< any of them ends the wait
  std::chrono::milliseconds at_most{};  ///< the time limit of this step
};
/// One step of a cleanup, performed in xenstore.
using cleanup_step = std::variant<cleanup_write, cleanup_remove, cleanup_wait>;

/// A custodian that was just started, and this process's end of the socket to it.
struct started_custodian {
  unique_fd socket;    ///< close-on-exec
  pid_t process = -1;  ///< a child of this process, or of the process that started it
};
/// Starts a custodian. Throws `failure`. A process that must not execute programs asks another
/// process to start the custodian (execute_custodian() in lib/xen/custodian_link.hpp).
using custodian_starter = std::function<started_custodian()>;

class custodian {
 public:
  /// Identifies a kept descriptor.
  enum class kept_id : std::uint64_t {};

  /// Starts a custodian. `starter` is called for it and for each replacement; by default, this
  /// process executes the program. Any number of threads may run. Throws `failure` if the program
  /// is not installed (errc::not_available) or does not start within seconds.
  [[nodiscard]] static custodian start(custodian_starter starter = {});

  custodian(custodian&&) noexcept;
  custodian& operator=(custodian&&) noexcept;
  /// Stops the custodian cleanly: it runs the cleanups that are still registered, closes the
  /// descriptors that may be closed, and exits. Does not wait if the custodian must keep running
  /// because of a resume.
  ~custodian();

  /// Sends a duplicate of `descriptor` to the custodian. Returns when the custodian has received it
  /// or when it is recorded for a replacement. Call immediately after opening the handle and before
  /// its first bind. Throws errc::limit_reached if the custodian's descriptor table is full.
  [[nodiscard]] kept_id keep(int descriptor);
  /// Closes the custodian's duplicate. Call this after the main process has closed its own
  /// descriptor cleanly and without a resume. Returns when the duplicate is closed and the ports
  /// are free. Has no effect on descriptors kept across a resume; throws errc::invalid_argument for
  /// an ID that was already released.
  void release(kept_id id);
  /// Sends the custodian a duplicate of a descriptor that must stay open only until this process's
  /// cleanups have run, such as a lock that a successor is waiting for. The custodian closes the
  /// duplicate after the cleanups or at a clean stop, with or without a resume. Not for event
  /// channels. Best effort: errors are logged. Throws EBADF for an invalid descriptor.
  void hold(int descriptor);
  /// Reports that the guest was resumed: the custodian never closes the descriptors kept so far.
  /// Returns when the report is recorded. Cleanups stay registered, and their relative paths now
  /// refer to the nodes of the new domain. If absolute paths have changed, register the cleanups
  /// again after reconnecting.
  void resumed();

  /// Registers or replaces the steps to run if this process dies or stops without clearing them.
  /// Cleanups run in the order of their first registration. A failed step is logged and does not
  /// prevent later steps. The waits take at most a minute in total. Best effort: errors are logged.
  /// Throws errc::limit_reached for more than 64 KiB of steps.
  void set_cleanup(const std::string& name, const std::vector<cleanup_step>& steps);
  /// Unregisters a cleanup; has no effect if there is none with this name. Best effort, as above.
  void clear_cleanup(const std::string& name);

  /// Makes the custodian run and unregister the remaining cleanups. Returns when they have run, or
  /// after 75 seconds. Call this before the program exits, while the pages that its devices share
  /// still exist: a device that is still registered at that time was not closed cleanly.
  void clean_up();

  /// Returns a descriptor that reports POLLHUP when the current custodian exits. The descriptor
  /// never becomes readable otherwise. Throws `failure`.
  [[nodiscard]] unique_fd end_descriptor() const;
  /// Checks whether the custodian is alive and starts a replacement if not. Returns false if the
  /// replacement cannot be started: call again a second later. Blocks for milliseconds, or at worst
  /// for a few seconds.
  [[nodiscard]] bool revive();

  /// Returns the PID of the current custodian.
  [[nodiscard]] pid_t process() const noexcept;

 private:
  struct connection;
  explicit custodian(std::unique_ptr<connection> c) noexcept;
  std::unique_ptr<connection> connection_;
};

}  // namespace xenpv::xen
