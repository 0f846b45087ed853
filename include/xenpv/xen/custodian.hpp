// The custodian: a tiny process forked before any thread, which holds a duplicate of every
// event-channel descriptor and outlives the main process.
//
// Why: closing the last reference of a handle that was open across save/restore is a kernel BUG
// (drivers/xen/evtchn.c, BUG_ON in evtchn_unbind_from_user), process exit included. And when the
// main process dies, somebody must be left to tell the backend (Closing, Closed).
//
// Rules it follows:
//  - clean stop, no resume: runs the cleanups still registered (a device that was closed in order
//    has cleared its own), closes its duplicates together with the main process and exits;
//  - after resumed(): keeps every duplicate it had for ever (until power-off), even when the main
//    process is gone; descriptors given later are treated normally again;
//  - main process dies (SIGKILL included): runs the cleanups registered, closes what it only held
//    for them, then what no resume touched; stays alive only if it must keep something.
// It ignores SIGTERM, SIGINT, SIGHUP and SIGQUIT. Thread: any; calls are serialised. It opens no
// event channel itself and its xenstore connection lives only while a cleanup runs.
//
// It can be replaced. This object has a duplicate of everything it gave away and a copy of what it
// registered. When the custodian turns out to be dead, the program xenpv-custodian is executed in
// its place ($XENPV_CUSTODIAN if that is set, else beside the running program or in libexec/xenpv;
// looked for when this object is made) and given the same. No call fails because the
// custodian is gone: what it says is recorded here and passed on to the next one. Where there is no
// such program, or it does not start, that is logged with the remedy, old handles stay open in this
// process, and each later call tries again, at growing intervals of up to a minute.
//
// What it cannot do:
//  - The main process counts as alive while anybody holds its end of the socket. That is
//    close-on-exec, so programs it starts are no concern; a child that forks without exec must
//    close it or exit by itself.
//  - A resume that the main process did not live to report is told from a checkpoint by nothing:
//    after either it keeps all handles, for nothing after a checkpoint. Which suspends it notices:
//    suspend_clock.hpp.
//  - Nothing helps against SIGKILL of both: a service manager must end the main process only
//    (systemd: KillMode=process; OpenRC: a pid file, not the name of the program).
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
/// Removes a node and all below it; absent is fine.
struct cleanup_remove {
  std::string path;
};
/// Waits until the node's value is one of `values`, is gone, or the time is up; goes on in every
/// case.
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

  /// Forks the custodian. Must run before any thread starts: throws `failure` otherwise, because a
  /// fork of a threaded process may hold locks for ever.
  [[nodiscard]] static custodian start();

  custodian(custodian&&) noexcept;
  custodian& operator=(custodian&&) noexcept;
  /// A clean stop: does clean_up(), then the custodian closes what it may close and exits. Does not
  /// wait for an exit that a resume forbids.
  ~custodian();

  /// Hands over a duplicate of `descriptor`; returns when the custodian has it, or when it is
  /// recorded for the next one. Call right after opening the handle and before its first bind.
  /// Throws errc::limit_reached when the custodian's descriptor table is full.
  [[nodiscard]] kept_id keep(int descriptor);
  /// The main process closed its side cleanly and no resume happened: the custodian closes its
  /// duplicate. Returns when that is done, so that the ports are free. Ignored for descriptors kept
  /// across a resume; throws errc::invalid_argument for an id released before.
  void release(kept_id id);
  /// Best effort, errors are logged: hands over a duplicate of what has to outlast this process
  /// only until its cleanups have run: a lock, which tells a successor when it may begin. Closed
  /// then, or at a clean stop, resume or not. Not for event channels. Throws EBADF for what is no
  /// descriptor.
  void hold(int descriptor);
  /// The guest was resumed: everything kept so far is kept for ever. Returns when that is recorded.
  /// Cleanups stay registered, and their relative paths now mean the new domain's nodes: register
  /// them anew once reconnected, when absolute paths have changed.
  void resumed();

  /// Best effort, errors are logged: registers (or replaces) the steps to run if this process dies
  /// or stops without having cleared them. Cleanups run in the order of their first registration; a
  /// step that fails is logged and the next one runs. All waits together are cut off after a
  /// minute. Throws errc::limit_reached for more than 64 KiB of steps.
  void set_cleanup(const std::string& name, const std::vector<cleanup_step>& steps);
  void clear_cleanup(const std::string& name);

  /// Has the custodian run the cleanups still registered, and forget them; returns when it has, or
  /// after a minute and a quarter. For the end of a program, while the pages that its devices share
  /// still exist: what is registered then was not closed in order.
  void clean_up();

  /// A descriptor that hangs up (POLLHUP) when the present custodian dies; it never delivers
  /// anything to read. Throws `failure`.
  [[nodiscard]] unique_fd end_descriptor() const;
  /// Looks whether the custodian is alive, and if it is not starts another one. False when there is
  /// none afterwards: call again a second later. Blocks for milliseconds, at worst for a few
  /// seconds.
  [[nodiscard]] bool revive();

  /// Of the present one.
  [[nodiscard]] pid_t process() const noexcept;

 private:
  struct connection;
  explicit custodian(std::unique_ptr<connection> c) noexcept;
  std::unique_ptr<connection> connection_;
};

}  // namespace xenpv::xen
