// Serves the control connection of one process of a domain. When the process exits, releases the
// pages that it shared or mapped. Used only on the host thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "sim/control_wire.hpp"
#include "sim/event_channels.hpp"
#include "sim/grant_tables.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

/// The part of the host that a control connection uses.
class control_host {
 public:
  [[nodiscard]] virtual event_channels& events() = 0;
  [[nodiscard]] virtual grant_tables& grants() = 0;
  [[nodiscard]] virtual int shared_memory() const = 0;
  /// Returns the domain's gntalloc limit, in pages.
  [[nodiscard]] virtual std::uint32_t grant_limit(std::uint8_t slot) const = 0;
  /// Watches a new handle so that the host detects when its last reference is closed.
  virtual void watch_handle(const event_channels::opened_handle& handle) = 0;
  /// Called when a reference to a handle was closed. Releases the handle if that was the last
  /// reference.
  virtual void check_handle(event_channels::handle_id id, pid_t closer) = 0;
  virtual void delay_event(std::uint8_t slot, std::uint32_t port) = 0;
  virtual void kill_process(pid_t process) = 0;
  /// Reports a call that is not simulated.
  virtual void note_missing_call(call_kind kind, std::uint64_t number, std::uint64_t command,
                                 pid_t process) = 0;

 protected:
  ~control_host() = default;
};

class control_service {
 public:
  control_service(control_host& host, unique_fd socket, std::uint8_t slot, pid_t process);
  /// Releases all pages that the process shared or mapped.
  ~control_service();
  control_service(const control_service&) = delete;
  control_service& operator=(const control_service&) = delete;

  /// Handles one request: a descriptor that the process closes before the next request must take
  /// effect first (see reactor::run). Returns false if the process has disconnected.
  [[nodiscard]] bool serve();

  [[nodiscard]] int descriptor() const noexcept { return socket_.get(); }
  [[nodiscard]] std::uint8_t slot() const noexcept { return slot_; }
  [[nodiscard]] pid_t process() const noexcept { return process_; }

 private:
  struct answer {
    control_reply reply{};
    std::vector<std::uint32_t> words;
    int fd = -1;        ///< borrowed
    unique_fd owned{};  ///< closed after sending
  };
  [[nodiscard]] answer execute(const control_request& request,
                               std::span<const std::uint32_t> words);
  [[nodiscard]] answer open_handle();
  [[nodiscard]] answer bind(const control_request& request);
  [[nodiscard]] answer share(const control_request& request);
  [[nodiscard]] answer map(const control_request& request, std::span<const std::uint32_t> words);
  [[nodiscard]] answer unshare(std::span<const std::uint32_t> ids);
  [[nodiscard]] answer unmap(const control_request& request);
  [[nodiscard]] answer set_notice(const control_request& request);
  [[nodiscard]] bool owns(event_channels::handle_id id) const;

  control_host& host_;
  unique_fd socket_;
  std::uint8_t slot_;
  pid_t process_;
  std::set<grant_tables::share_id> shares_;
  std::set<grant_tables::map_id> maps_;
};

}  // namespace xenpv::sim
