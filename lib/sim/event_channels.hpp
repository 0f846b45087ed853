// The slow path of event channels, modelled on Xen and the Linux evtchn driver: opens and closes
// handles, binds and closes ports, and resets both on a resume. Used only on the host thread. The
// fast path is in delivery.hpp.
#pragma once

#include <sys/types.h>

#include <array>
#include <boost/system/result.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "sim/delivery.hpp"
#include "sim/shared_state.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

/// Result of an ioctl: a number or an errno.
using ioctl_result = boost::system::result<std::uint32_t, std::errc>;

/// A simulated "kernel BUG at drivers/xen/evtchn.c:422".
struct kernel_bug {
  domid domain;
  pid_t process = 0;  ///< the killed process; 0: unknown
  std::uint32_t port = 0;
  std::string what;
};

class event_channels final : public port_ring_writer {
 public:
  struct handle_id {
    std::uint16_t index = 0;
    std::uint32_t generation = 0;
  };
  struct opened_handle {
    handle_id id;
    unique_fd reader;
    int waker = -1;  ///< borrowed; EPOLLERR: the last reference was closed
  };

  /// `max_channels`: the highest usable port number of each domain (max_event_channels in xl.cfg).
  event_channels(shared_state& state, std::uint32_t max_channels);

  // Domains.

  /// Clears the slot's ports and binds the kernel ports.
  void start_domain(std::uint8_t slot, domid domain, unsigned cpus);
  /// Closes all ports. Handles stay open but no longer work.
  void stop_domain(std::uint8_t slot);
  /// Simulates a save and restore: resets the ports as start_domain() does, but leaves the driver
  /// state of open handles unchanged, so that it is stale.
  void resume_domain(std::uint8_t slot, domid domain, unsigned cpus);
  [[nodiscard]] std::optional<std::uint8_t> find_domain(domid domain) const;

  // Handles.

  [[nodiscard]] boost::system::result<opened_handle, std::errc> open(std::uint8_t slot,
                                                                     pid_t opener);
  /// Returns the handle whose descriptor has this inode, for xenevtchn_fdopen().
  [[nodiscard]] std::optional<handle_id> adopt(std::uint8_t slot, std::uint64_t inode) const;
  /// Returns the write end of the ring, for senders, or -1 if the handle was released.
  [[nodiscard]] int waker(handle_id id) const;
  [[nodiscard]] std::optional<std::uint8_t> slot_of(handle_id id) const;
  /// If the handle is stale and still has ports, returns the process that opened it.
  [[nodiscard]] std::optional<pid_t> stale_opener(handle_id id) const;
  [[nodiscard]] bool is_last_reference_closed(handle_id id) const;
  /// Emulates the driver's release(): unbinds all ports. For a stale handle, records the kernel BUG
  /// and returns `closer` as the process to kill. Does nothing if the handle was already released.
  std::optional<pid_t> release(handle_id id, std::optional<pid_t> closer);
  [[nodiscard]] std::vector<handle_id> open_handles() const;

  // Ioctls.

  [[nodiscard]] ioctl_result bind_unbound(handle_id id, domid remote);
  [[nodiscard]] ioctl_result bind_interdomain(handle_id id, domid remote,
                                              std::uint32_t remote_port);
  [[nodiscard]] ioctl_result bind_virq(handle_id id, std::uint32_t virq);
  /// For a port of a stale handle, records the BUG as release() does and returns `owner_dead`; the
  /// caller must then kill `caller`.
  [[nodiscard]] ioctl_result unbind(handle_id id, std::uint32_t port, pid_t caller);
  [[nodiscard]] ioctl_result restrict_to(handle_id id, domid domain);

  // Events raised by the host.

  void raise_virq(std::uint8_t slot, std::uint32_t virq);
  /// Sends an event through `port` of the domain, bypassing the fault switches.
  void send_now(std::uint8_t slot, std::uint32_t port);
  /// Returns true if a handle of the domain owns `port`.
  [[nodiscard]] bool is_user_port(std::uint8_t slot, std::uint32_t port) const;
  /// Keeps the port connected until unpin(), even if its handle unbinds it, so that the release
  /// notice of a granted page can send an event through the port. Like evtchn_get() and
  /// evtchn_put() in the kernel.
  void pin(std::uint8_t slot, std::uint32_t port);
  void unpin(std::uint8_t slot, std::uint32_t port);

  void write_port(std::uint16_t handle, std::uint32_t generation, std::uint32_t port) override;

  [[nodiscard]] const std::vector<kernel_bug>& bugs() const noexcept { return bugs_; }
  /// Number of ports in use, including kernel ports.
  [[nodiscard]] std::size_t port_count(std::uint8_t slot) const;
  /// Returns true if the domain's peers have handled every event that the domain sent.
  [[nodiscard]] bool is_quiet(std::uint8_t slot) const;
  [[nodiscard]] std::size_t user_port_count(std::uint8_t slot) const;

 private:
  struct handle_record {
    unique_fd waker;
    std::uint64_t inode = 0;
    std::uint8_t slot = 0;
    pid_t opener = 0;
    bool stale = false;
    std::optional<domid> restricted;
  };
  [[nodiscard]] handle_record* find(handle_id id);
  [[nodiscard]] const handle_record* find(handle_id id) const;
  [[nodiscard]] ioctl_result allocate(std::uint8_t slot, port_link link);
  void attach(handle_id id, std::uint8_t slot, std::uint32_t port);
  /// Emulates the driver's unbind: stops delivery to the handle, and closes the port unless it is
  /// pinned.
  void unbind_port(std::uint8_t slot, std::uint32_t port);
  void close_port(std::uint8_t slot, std::uint32_t port);
  void bind_kernel_ports(std::uint8_t slot, unsigned cpus);
  /// Unbinds a stale handle's port: closes whichever port now has that number. Returns false if
  /// this triggers the BUG.
  bool close_stale(std::uint8_t slot, std::uint32_t port);
  [[nodiscard]] shared_port& at(std::uint8_t slot, std::uint32_t port);
  [[nodiscard]] port_link link_of(std::uint8_t slot, std::uint32_t port) const;
  [[nodiscard]] domid resolve(std::uint8_t slot, domid domain) const;

  shared_state& state_;
  std::uint32_t max_channels_;
  std::array<handle_record, max_handles> handles_;
  struct pinned_port {
    unsigned pins = 0;
    bool unbound = false;
  };
  std::map<std::pair<std::uint8_t, std::uint32_t>, pinned_port> pinned_;
  std::uint32_t next_generation_ = 1;
  std::vector<kernel_bug> bugs_;
};

}  // namespace xenpv::sim
