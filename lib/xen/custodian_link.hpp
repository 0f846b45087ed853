// The main process's end of one custodian: its start by fork or by exec, one request at a time, and
// its end. Knows nothing of what the requests mean and replaces nobody (custodian.cpp does).
// Thread: one at a time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>

#include "xen/custodian_wire.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::xen {

/// The program that becomes a custodian where a fork is not safe: xenpv-custodian.
class custodian_helper {
 public:
  /// Looks for it: $XENPV_CUSTODIAN if that is set, else beside this program and
  /// in libexec. The file found is kept open,
  /// so that an upgrade or a chroot does not take it away.
  [[nodiscard]] static custodian_helper find();

  [[nodiscard]] bool is_found() const noexcept { return static_cast<bool>(file_); }
  [[nodiscard]] int descriptor() const noexcept { return file_.get(); }
  /// The places it was looked for in, for messages.
  [[nodiscard]] const std::string& places() const noexcept { return places_; }

 private:
  unique_fd file_;
  std::string places_;
};

class custodian_link {
 public:
  /// Forks a custodian. Throws `failure` beside other threads: a fork of a threaded process may
  /// hold locks for ever.
  [[nodiscard]] static custodian_link fork();
  /// Executes `helper`, which is safe beside any number of threads. Returns once it is ready, or
  /// throws `failure`, within a few seconds.
  [[nodiscard]] static custodian_link spawn(const custodian_helper& helper);

  custodian_link(custodian_link&&) noexcept = default;
  custodian_link& operator=(custodian_link&&) noexcept = default;
  ~custodian_link() = default;

  /// One request and its reply, which may be a refusal. nullopt when nobody holds the other end any
  /// more. Throws `failure` for everything else. Blocks for as long as the custodian takes.
  [[nodiscard]] std::optional<custodian_reply> exchange(const custodian_request& request,
                                                        int descriptor = -1);
  /// As above, but throws errc::timed_out after `limit`; the link is of no use then.
  [[nodiscard]] std::optional<custodian_reply> exchange(const custodian_request& request,
                                                        std::chrono::milliseconds limit);

  /// Nobody holds the other end any more.
  [[nodiscard]] bool is_hung_up() const noexcept;
  [[nodiscard]] int socket() const noexcept { return socket_.get(); }
  [[nodiscard]] pid_t process() const noexcept { return process_; }

  /// Kills it, before it can take the end of the link for the end of this process and run cleanups.
  void kill() noexcept;
  /// Waits for its end, or only looks with WNOHANG, and tells what became of it; nothing if it is
  /// not known.
  std::string reap(int options) noexcept;

 private:
  custodian_link(unique_fd socket, pid_t process) noexcept
      : socket_(std::move(socket)), process_(process) {}
  void await_packet(std::chrono::milliseconds limit, std::string_view operation) const;
  [[nodiscard]] std::optional<custodian_reply> receive();

  unique_fd socket_;
  pid_t process_;
};

}  // namespace xenpv::xen
