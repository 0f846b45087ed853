// A simulated Xen host: hypervisor, guest kernels, xenstored and toolstack in one single-threaded
// process. The domains' processes connect to the host process through sockets in its directory;
// events and granted pages bypass the host process.
//
//   DIR/admin              commands of xenpv-sim (one JSON object per line)
//   DIR/domN/control       emulates /dev/xen of the domain: see control_wire.hpp
//   DIR/domN/xenstored     the domain's connection to xenstored
//   DIR/domN/root          /sys, /proc and /dev/xen of the domain's programs (XENPV_ROOT)
//   DIR/backend-*.log      output of the external backends: see external_backends.hpp
//   DIR/qmp-N              monitor socket of the QEMU that serves disks of domain N
// N is the initial domain ID; a restore may change the domain ID but not the directory.
#pragma once

#include <array>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "sim/control_service.hpp"
#include "sim/disk_spec.hpp"
#include "sim/event_channels.hpp"
#include "sim/external_backends.hpp"
#include "sim/fault_spec.hpp"
#include "sim/grant_tables.hpp"
#include "sim/reactor.hpp"
#include "sim/shared_state.hpp"
#include "sim/store_service.hpp"
#include "sim/store_sockets.hpp"
#include "sim/toolstack.hpp"
#include "sim/xen_version.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

struct host_options {
  std::filesystem::path directory;    ///< must exist; owned by the host
  std::optional<uid_t> allowed_user;  ///< may join the domains, in addition to root and the owner
  unsigned guests = 1;                ///< domains created at start, numbered from 1
  unsigned cpus = 2;  ///< vCPUs of each domain; determines how many ports the kernel binds
  std::uint32_t max_channels = 1023;  ///< max_event_channels in xl.cfg
  std::uint32_t grant_limit = 1024;   ///< xen-gntalloc limit, in pages
  bool guest_hypercalls = false;      ///< as with xen_privcmd.unrestricted=1, or before XSA-482
  std::vector<disk_spec> disks;       ///< attached to each new guest
  fault_switches faults;
  xen_version version = xen_version::xen_4_17;  ///< version to simulate
};

/// A domain as its users address it. The name is unique and, unlike the ID, survives a restore.
struct domain_identity {
  domid number{0};
  std::string name;
  std::filesystem::path directory;
};

class host final : private control_host {
 public:
  explicit host(host_options options);
  ~host();

  /// Serves until stop(). Calls `ready` when all sockets are listening.
  void run(const std::function<void()>& ready);
  void stop();

  [[nodiscard]] domid create_domain(std::optional<domid> number);
  /// Kills the processes of the domain. Pages mapped by peers stay mapped.
  void destroy_domain(domid domain);
  /// Saves and restores the domain. If `frozen` is 0, restores it immediately. Otherwise, stops its
  /// processes for that time, as a save does, and restores it when the backends have completed the
  /// requests in flight. `storage_moved`: see toolstack::rebuild_domain(). `done` is called with
  /// the new domain ID when the processes run again; until then, the domain keeps its old ID.
  void save_restore(domid domain, bool keep_number, std::chrono::milliseconds frozen,
                    bool storage_moved, std::function<void(domid)> done);
  /// Simulates a cancelled suspend, like `xl save -c`: only stops the processes of the domain for
  /// `frozen`. `done` is called when the processes run again.
  void checkpoint(domid domain, std::chrono::milliseconds frozen, std::function<void()> done);
  void raise_virq(domid domain, std::uint32_t virq);
  /// See external_backends.
  void await_backends(external_backends::done_function done);
  void restart_backend(domid domain, std::uint32_t device, external_backends::done_function done);
  void set_faults(const fault_switches& faults);
  [[nodiscard]] const fault_switches& faults() const noexcept { return faults_; }
  /// Finds a domain by its name or ID. Throws `failure` if there is no such domain.
  [[nodiscard]] domain_identity find_domain(std::string_view name_or_id) const;

  /// Returns the output of `xenpv-sim status`, as JSON text.
  [[nodiscard]] std::string status() const;

 private:
  struct domain_record {
    std::string name;
    std::filesystem::path directory;
    unique_fd control_listener;
    std::vector<std::unique_ptr<control_service>> processes;
  };
  struct suspended_domain {
    std::uint8_t slot;
    domid old_domain;
    domid new_domain;
    bool storage_moved;
    std::chrono::milliseconds frozen;  ///< remaining time after the restore
    std::vector<pid_t> processes;
    std::function<void()> done;
  };
  /// Stops the processes of the domain and returns their PIDs.
  [[nodiscard]] std::vector<pid_t> stop_processes(const domain_record& domain) const;
  void continue_after(std::chrono::milliseconds delay, std::vector<pid_t> processes,
                      std::function<void()> done);
  void resume_when_drained(suspended_domain suspended, std::chrono::milliseconds timeout);
  void resume_as(std::uint8_t slot, domid old_domain, domid new_domain, bool storage_moved);

  struct admin_service;

  // control_host
  event_channels& events() override { return events_; }
  grant_tables& grants() override { return grants_; }
  int shared_memory() const override { return memory_.get(); }
  std::uint32_t grant_limit(std::uint8_t slot) const override;
  void watch_handle(const event_channels::opened_handle& handle) override;
  void check_handle(event_channels::handle_id id, pid_t closer) override;
  void delay_event(std::uint8_t slot, std::uint32_t port) override;
  void kill_process(pid_t process) override;
  void note_missing_call(call_kind kind, std::uint64_t number, std::uint64_t command,
                         pid_t process) override;

  void accept_process(std::uint8_t slot);
  void serve_process(control_service& process);
  void drop_process(control_service& process);
  void lose_handle(event_channels::handle_id id);
  void release_handle(event_channels::handle_id id, std::optional<pid_t> closer);
  [[nodiscard]] std::uint8_t slot_of(domid domain) const;
  [[nodiscard]] domain_identity identity_of(std::uint8_t slot) const;
  /// Returns "guest-N", or a similar name if a restored domain has that one.
  [[nodiscard]] std::string unused_name(domid domain) const;
  /// Returns "Domain-0 (0), guest-1 (2)".
  [[nodiscard]] std::string list_domains() const;
  [[nodiscard]] std::uint32_t generation_of(std::uint8_t slot) const;

  host_options options_;
  unique_fd memory_;
  shared_state* state_ = nullptr;
  reactor reactor_;
  event_channels events_;
  grant_tables grants_;
  store_service store_;
  store_sockets store_sockets_;
  toolstack toolstack_;
  external_backends external_backends_;
  fault_switches faults_;
  std::array<std::unique_ptr<domain_record>, max_domains> domains_;
  std::uint32_t next_slot_generation_ = 1;
  std::uint16_t next_domain_ = 1;
  std::unique_ptr<admin_service> admin_;
  /// Calls that have been logged as not simulated.
  std::set<std::tuple<call_kind, std::uint64_t, std::uint64_t>> missing_calls_;
};

}  // namespace xenpv::sim
