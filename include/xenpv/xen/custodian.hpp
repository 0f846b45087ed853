// The custodian: a tiny process forked before any thread, which holds a duplicate of every
// event-channel descriptor and outlives the main process.
//
// Why: closing the last reference of a handle that was open across save/restore is a kernel BUG
// (drivers/xen/evtchn.c, BUG_ON in evtchn_unbind_from_user), process exit included. And when the
// main process dies, somebody must be left to tell the backend (Closing, Closed).
//
// Rules it follows:
//  - clean stop, no resume: closes its duplicates together with the main process and exits;
//  - after resumed(): keeps every duplicate it had for ever (until power-off), even when the main
//    process is gone; descriptors given later are treated normally again;
//  - main process dies (SIGKILL included): runs the cleanups registered, closes what it only held
//    for them, then what no resume touched; stays alive only if it must keep something.
// It ignores SIGTERM, SIGINT, SIGHUP and SIGQUIT. Thread: any; calls are serialised. It opens no
// event channel itself and its xenstore connection lives only while a cleanup runs.
//
// What it cannot do:
//  - The main process counts as alive while anybody holds its end of the socket. That is
//    close-on-exec, so programs it starts are no concern; a child that forks without exec must
//    close it or exit by itself.
//  - A resume that the main process did not live to report is told from a checkpoint by nothing:
//    after either it keeps all handles, for nothing after a checkpoint. A suspend of less than a
//    millisecond is not noticed.
//  - Nothing helps against SIGKILL: a service manager must end the main process only
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
  /// A clean stop: the custodian closes what it may close, runs no cleanup, and exits. Does not
  /// wait for an exit that a resume forbids.
  ~custodian();

  /// Hands over a duplicate of `descriptor`; returns when the custodian has it. Call right after
  /// opening the handle and before its first bind. Throws errc::lost_connection when the custodian
  /// is gone, as every call here does.
  [[nodiscard]] kept_id keep(int descriptor);
  /// The main process closed its side cleanly and no resume happened: the custodian closes its
  /// duplicate. Returns when that is done, so that the ports are free. Ignored for descriptors kept
  /// across a resume; throws errc::invalid_argument for an id released before.
  void release(kept_id id);
  /// Hands over a duplicate of what has to outlast this process only until its cleanups have run: a
  /// lock, which tells a successor when it may begin. Closed then, or at a clean stop, resume or
  /// not. Not for event channels.
  void hold(int descriptor);
  /// The guest was resumed: everything kept so far is kept for ever. Returns when that is recorded.
  /// Cleanups stay registered, and their relative paths now mean the new domain's nodes: register
  /// them anew once reconnected, when absolute paths have changed.
  void resumed();

  /// Registers (or replaces) the steps to run if this process dies without a clean stop. Cleanups
  /// run in the order of their first registration; a step that fails is logged and the next one
  /// runs. All waits together are cut off after a minute. Throws errc::limit_reached for more than
  /// 64 KiB of steps.
  void set_cleanup(const std::string& name, const std::vector<cleanup_step>& steps);
  void clear_cleanup(const std::string& name);

  [[nodiscard]] pid_t process() const noexcept;

 private:
  struct connection;
  explicit custodian(std::unique_ptr<connection> c) noexcept;
  std::unique_ptr<connection> connection_;
};

}  // namespace xenpv::xen
