// The main process's connection to one custodian (a helper process that keeps descriptors open and
// closes devices after a crash). Starts the custodian by executing its program, exchanges one
// request at a time, and reaps the process. Does not interpret requests or replace a dead
// custodian; custodian.cpp does. Used by one thread at a time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>

#include "xen/custodian_wire.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::xen {

/// The program xenpv-custodian.
class custodian_program {
 public:
  /// Uses $XENPV_CUSTODIAN if set; otherwise searches the directory of this program and libexec.
  /// Keeps the file open, so that it stays usable after an upgrade or a chroot.
  [[nodiscard]] static custodian_program find();

  /// Selects how the custodian confines itself: "on" (the default), "log" or "off".
  void set_sandbox(std::string mode) { sandbox_ = std::move(mode); }
  [[nodiscard]] const std::string& sandbox() const noexcept { return sandbox_; }

  [[nodiscard]] bool is_found() const noexcept { return static_cast<bool>(file_); }
  [[nodiscard]] int descriptor() const noexcept { return file_.get(); }
  /// Returns the searched paths, for error messages.
  [[nodiscard]] const std::string& searched_paths() const noexcept { return searched_paths_; }

 private:
  unique_fd file_;
  std::string searched_paths_;
  std::string sandbox_;
};

/// Executes `program`, which is safe with any number of threads. Returns when the custodian is
/// ready, or throws `failure` within a few seconds.
[[nodiscard]] started_custodian execute_custodian(const custodian_program& program);

class custodian_link {
 public:
  explicit custodian_link(started_custodian started) noexcept
      : socket_(std::move(started.socket)), process_(started.process) {}

  custodian_link(custodian_link&&) noexcept = default;
  custodian_link& operator=(custodian_link&&) noexcept = default;
  ~custodian_link() = default;

  /// Sends one request and returns its reply, which may be a refusal. Returns nullopt if the
  /// custodian has closed its end. Throws `failure` for all other errors. Blocks until the
  /// custodian replies.
  [[nodiscard]] std::optional<custodian_reply> exchange(const custodian_request& request,
                                                        int descriptor = -1);
  /// Like the overload above, but throws errc::timed_out after `limit`. The link is then unusable.
  [[nodiscard]] std::optional<custodian_reply> exchange(const custodian_request& request,
                                                        std::chrono::milliseconds limit);

  /// True if the custodian has closed its end.
  [[nodiscard]] bool is_hung_up() const noexcept;
  [[nodiscard]] int socket() const noexcept { return socket_.get(); }
  [[nodiscard]] pid_t process() const noexcept { return process_; }

  /// Kills the custodian. A custodian that stayed alive would treat the closed link as a crash of
  /// this process and run the cleanups.
  void kill() noexcept;
  /// Waits for the custodian to exit (WNOHANG: only polls) and describes how it exited. Returns an
  /// empty string if the exit status is unknown.
  std::string reap(int options) noexcept;
  /// Waits until a custodian that was told to stop has closed its descriptors, and reaps it if it
  /// is a child of this process.
  void await_end() noexcept;

 private:
  void await_packet(std::chrono::milliseconds limit, std::string_view operation) const;
  [[nodiscard]] std::optional<custodian_reply> receive();

  friend started_custodian execute_custodian(const custodian_program& program);

  unique_fd socket_;
  pid_t process_;
};

}  // namespace xenpv::xen
