#include "sim/host.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/parse.hpp"
#include "base/utf8.hpp"
#include "sim/admin_service.hpp"
#include "sim/listen.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::sim {
namespace {

constexpr std::string_view guest_name_prefix = "guest-";

unique_fd create_shared_memory() {
  unique_fd memory(::memfd_create("xenpv-sim-host", MFD_CLOEXEC));
  if (!memory || ::ftruncate(memory.get(), sizeof(shared_state)) != 0)
    throw_errno("create the shared state of the simulated host");
  return memory;
}

shared_state& map_shared_memory(int memory) {
  void* address =
      ::mmap(nullptr, sizeof(shared_state), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (address == MAP_FAILED) throw_errno("map the shared state of the simulated host");
  // A new memfd is zero-filled, and zero is a valid value for every atomic in shared_state.
  auto* state = static_cast<shared_state*>(address);
  state->magic = shared_magic;
  state->size = sizeof(shared_state);
  return *state;
}

pid_t peer_process(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
  return credentials.pid;
}

constexpr std::chrono::milliseconds closer_grace{50};

/// Limits for draining a guest during a save: the guest's backends have drain_timeout to handle all
/// events, and then drain_grace to complete the requests in flight.
constexpr std::chrono::milliseconds drain_timeout{1000};
constexpr std::chrono::milliseconds drain_poll_interval{1};
constexpr std::chrono::milliseconds drain_grace{15};

void set_ratio(shared_event_fault& fault, ratio value) {
  fault.whole.store(value.whole);
  fault.seen.store(0);
  fault.part.store(value.part);
}

}  // namespace

host::host(host_options options)
    : options_(std::move(options)),
      memory_(create_shared_memory()),
      state_(&map_shared_memory(memory_.get())),
      events_(*state_, options_.max_channels),
      grants_(*state_, events_),
      store_(quota_of(options_.version), controls_of(options_.version)),
      store_sockets_(reactor_, store_, options_.allowed_user),
      toolstack_(store_, options_.cpus),
      external_backends_(
          reactor_, store_, [this] { store_sockets_.flush(); }, options_.directory) {
  state_->guest_hypercalls = options_.guest_hypercalls;
  (void)create_domain(domid_0);
  for (unsigned i = 0; i < options_.guests; ++i)
    (void)create_domain(std::nullopt);
  set_faults(options_.faults);
  admin_ = std::make_unique<admin_service>(*this, reactor_, options_.directory / "admin");
}

host::~host() {
  for (auto& domain : domains_)
    if (domain)
      for (auto& process : domain->processes)
        reactor_.remove(process->descriptor());
  domains_ = {};
  admin_.reset();
  ::munmap(static_cast<void*>(state_), sizeof(shared_state));
}

void host::run(const std::function<void()>& ready) {
  ready();
  reactor_.run();
  external_backends_.stop_all();
}

void host::stop() {
  reactor_.stop();
}

domid host::create_domain(std::optional<domid> number) {
  const auto free = std::find(domains_.begin(), domains_.end(), nullptr);
  if (free == domains_.end())
    throw failure(errc::limit_reached, "create a domain",
                  fmt::format("a simulated host has at most {} domains", max_domains));
  if (number && events_.find_domain(*number))
    throw failure(errc::invalid_argument, fmt::format("create domain {}", *number),
                  "the domain ID is in use");
  while (!number && events_.find_domain(domid{next_domain_}))
    ++next_domain_;
  const auto domain = number.value_or(domid{next_domain_});
  const auto slot = static_cast<std::uint8_t>(free - domains_.begin());

  auto record = std::make_unique<domain_record>();
  record->name = domain == domid_0 ? "Domain-0" : unused_name(domain);
  // After a restore with another ID, the domain's first ID may be given to a new domain, but
  // neither its name nor its directory.
  record->directory =
      options_.directory /
      (domain == domid_0 ? "dom0" : "dom" + record->name.substr(guest_name_prefix.size()));
  std::filesystem::create_directories(record->directory);
  restrict_directory(record->directory, options_.allowed_user);
  toolstack::build_machine(record->directory / "root", domain, options_.grant_limit,
                           options_.version,
                           std::filesystem::perms{options_.allowed_user ? 0666U : 0600U});

  state_->domains[slot].generation.store(next_slot_generation_++);
  events_.start_domain(slot, domain, options_.cpus);
  grants_.start_domain(slot);
  toolstack_.build_domain(domain, record->name,
                          domain == domid_0 ? std::span<const disk_spec>{} : options_.disks);
  record->control_listener = listen_at(record->directory / "control",
                                       SOCK_SEQPACKET | SOCK_NONBLOCK, options_.allowed_user);
  reactor_.add(record->control_listener.get(), EPOLLIN,
               [this, slot](std::uint32_t) { accept_process(slot); });
  store_sockets_.open(slot, domain, record->directory / "xenstored");
  *free = std::move(record);
  store_sockets_.flush();
  if (domain != domid_0) external_backends_.start(domain, (*free)->name, options_.disks);
  return domain;
}

void host::destroy_domain(domid domain) {
  const auto slot = slot_of(domain);
  if (domain == domid_0)
    throw failure(errc::invalid_argument, "destroy domain 0", "stop the host instead");
  external_backends_.stop(domain);
  auto& record = *domains_[slot];
  for (auto& process : record.processes) {
    kill_process(process->process());
    reactor_.remove(process->descriptor());
  }
  events_.stop_domain(slot);
  for (const auto id : events_.open_handles())
    if (events_.slot_of(id) == slot) release_handle(id, std::nullopt);
  record.processes.clear();
  grants_.stop_domain(slot);
  reactor_.remove(record.control_listener.get());
  store_sockets_.close(slot);
  state_->domains[slot].generation.store(0);
  toolstack_.destroy_domain(domain, options_.disks);
  std::error_code ignored;
  std::filesystem::remove_all(record.directory, ignored);
  domains_[slot] = nullptr;
  store_sockets_.flush();
}

void host::resume_as(std::uint8_t slot, domid old_domain, domid new_domain, bool storage_moved) {
  // The domain may have been destroyed while it was suspended.
  if (!domains_[slot]) return;
  auto& record = *domains_[slot];
  external_backends_.stop(old_domain);
  events_.resume_domain(slot, new_domain, options_.cpus);
  grants_.resume_domain(slot);
  store_sockets_.rename(slot, new_domain);
  toolstack_.rebuild_domain(old_domain, new_domain, record.name, options_.disks, storage_moved);
  // Resume the store after rebuilding the nodes: with the Linux xenbus_dev driver, too, watches
  // fire after a resume only once the new nodes exist.
  store_.resume(old_domain, new_domain);
  store_sockets_.flush();
  external_backends_.start(new_domain, record.name, options_.disks);
}

void host::resume_when_drained(suspended_domain suspended, std::chrono::milliseconds timeout) {
  if (timeout.count() > 0 && domains_[suspended.slot] && !events_.is_quiet(suspended.slot)) {
    reactor_.after(drain_poll_interval, [this, suspended = std::move(suspended), timeout] {
      resume_when_drained(suspended, timeout - drain_poll_interval);
    });
    return;
  }
  reactor_.after(drain_grace, [this, suspended = std::move(suspended)] {
    resume_as(suspended.slot, suspended.old_domain, suspended.new_domain, suspended.storage_moved);
    continue_after(suspended.frozen, suspended.processes, suspended.done);
  });
}

std::vector<pid_t> host::stop_processes(const domain_record& domain) const {
  std::vector<pid_t> stopped;
  for (const auto& process : domain.processes)
    if (::kill(process->process(), SIGSTOP) == 0) stopped.push_back(process->process());
  return stopped;
}

void host::continue_after(std::chrono::milliseconds delay, std::vector<pid_t> processes,
                          std::function<void()> done) {
  reactor_.after(delay, [stopped = std::move(processes), done = std::move(done)] {
    for (const auto process : stopped)
      ::kill(process, SIGCONT);
    done();
  });
}

void host::checkpoint(domid domain, std::chrono::milliseconds frozen, std::function<void()> done) {
  const auto slot = slot_of(domain);
  if (domain == domid_0)
    throw failure(errc::invalid_argument, "suspend domain 0", "only guests can be suspended");
  continue_after(frozen,
                 frozen.count() > 0 ? stop_processes(*domains_[slot]) : std::vector<pid_t>(),
                 std::move(done));
}

void host::save_restore(domid domain, bool keep_number, std::chrono::milliseconds frozen,
                        bool storage_moved, std::function<void(domid)> done) {
  const auto slot = slot_of(domain);
  if (domain == domid_0)
    throw failure(errc::invalid_argument, "save domain 0", "only guests can be saved");
  std::vector<pid_t> stopped;
  if (frozen.count() > 0) stopped = stop_processes(*domains_[slot]);

  while (events_.find_domain(domid{next_domain_}))
    ++next_domain_;
  const auto new_domain = keep_number ? domain : domid{next_domain_++};
  if (stopped.empty()) {
    resume_as(slot, domain, new_domain, storage_moved);
    done(new_domain);
    return;
  }
  // Backends still complete the requests in flight, and may access guest memory until the drain is
  // complete.
  resume_when_drained(
      {slot, domain, new_domain, storage_moved, std::max(frozen - drain_grace, drain_grace),
       std::move(stopped), [new_domain, done = std::move(done)] { done(new_domain); }},
      drain_timeout);
}

void host::raise_virq(domid domain, std::uint32_t virq) {
  events_.raise_virq(slot_of(domain), virq);
}

void host::await_backends(external_backends::done_function done) {
  external_backends_.await_announced(std::move(done));
}

void host::restart_backend(domid domain, std::uint32_t device,
                           external_backends::done_function done) {
  external_backends_.restart(domain, device, std::move(done));
}

void host::set_faults(const fault_switches& faults) {
  faults_ = faults;
  set_ratio(state_->lose, faults.event_lost);
  set_ratio(state_->duplicate, faults.event_doubled);
  set_ratio(state_->delay, faults.event_delayed);
  grants_.set_refusal(faults.grant_refused);
  store_faults store;
  store.fail_every = faults.store_fail_every;
  store.eagain_every = faults.store_eagain_every;
  store_.set_faults(store);
  store_sockets_.set_faults(faults);
}

domain_identity host::identity_of(std::uint8_t slot) const {
  return {domid{static_cast<std::uint16_t>(state_->domains[slot].domain.load())},
          domains_[slot]->name, domains_[slot]->directory};
}

std::string host::unused_name(domid domain) const {
  const auto is_used = [this](const std::string& name) {
    return std::ranges::any_of(domains_,
                               [&](const auto& other) { return other && other->name == name; });
  };
  const auto first = fmt::format("{}{}", guest_name_prefix, domain);
  auto name = first;
  for (unsigned i = 2; is_used(name); ++i)
    name = fmt::format("{}-{}", first, i);
  return name;
}

std::string host::list_domains() const {
  std::string out;
  for (std::size_t i = 0; i < domains_.size(); ++i) {
    if (!domains_[i]) continue;
    const auto domain = identity_of(static_cast<std::uint8_t>(i));
    out += fmt::format("{}{} ({})", out.empty() ? "" : ", ", domain.name, domain.number);
  }
  return out;
}

std::uint8_t host::slot_of(domid domain) const {
  const auto slot = events_.find_domain(domain);
  if (!slot)
    throw failure(errc::invalid_argument, fmt::format("domain {}", domain),
                  fmt::format("no such domain; this host has {}", list_domains()));
  return *slot;
}

domain_identity host::find_domain(std::string_view name_or_id) const {
  for (std::size_t i = 0; i < domains_.size(); ++i)
    if (domains_[i] && domains_[i]->name == name_or_id)
      return identity_of(static_cast<std::uint8_t>(i));
  if (const auto number = parse_whole<std::uint16_t>(name_or_id))
    return identity_of(slot_of(domid{*number}));
  throw failure(errc::invalid_argument, fmt::format("domain '{}'", printable(name_or_id)),
                fmt::format("no such domain; this host has {}", list_domains()));
}

std::uint32_t host::generation_of(std::uint8_t slot) const {
  return state_->domains[slot].generation.load();
}

std::uint32_t host::grant_limit(std::uint8_t slot) const {
  // Like the kernel, read the module parameter each time: root may change it at run time.
  const system_root root(domains_[slot]->directory / "root");
  const auto text = root.read("/sys/module/xen_gntalloc/parameters/limit");
  const auto value = parse_unsigned(text.value_or(""), "limit", 0, 1U << 24);
  return value ? static_cast<std::uint32_t>(*value) : options_.grant_limit;
}

void host::accept_process(std::uint8_t slot) {
  auto& record = *domains_[slot];
  auto socket = accept_permitted(record.control_listener.get(), 0, options_.allowed_user);
  if (!socket) return;
  const auto process = peer_process(socket.get());
  record.processes.push_back(std::make_unique<control_service>(static_cast<control_host&>(*this),
                                                               std::move(socket), slot, process));
  auto& service = *record.processes.back();
  reactor_.add(service.descriptor(), EPOLLIN,
               [this, &service](std::uint32_t) { serve_process(service); });
}

void host::serve_process(control_service& process) {
  if (!process.serve()) drop_process(process);
}

void host::drop_process(control_service& process) {
  const auto dead = process.process();
  reactor_.remove(process.descriptor());
  auto& list = domains_[process.slot()]->processes;
  list.erase(std::find_if(list.begin(), list.end(),
                          [&](const auto& entry) { return entry.get() == &process; }));
  // The handles of the process were closed when it exited. Release them here, where a kernel BUG
  // can be attributed to the process: the hang-up events that follow do not identify it.
  for (const auto id : events_.open_handles())
    if (events_.is_last_reference_closed(id)) release_handle(id, dead);
}

void host::watch_handle(const event_channels::opened_handle& handle) {
  reactor_.add(handle.waker, 0, [this, id = handle.id](std::uint32_t) { lose_handle(id); });
}

void host::lose_handle(event_channels::handle_id id) {
  const auto opener = events_.stale_opener(id);
  if (!opener) {
    release_handle(id, std::nullopt);
    return;
  }
  // The last reference to a stale handle was closed. xenevtchn_close(), or the exit of the process,
  // identifies the closing process within closer_grace. A plain close(2) does not: attribute it to
  // the process that opened the handle.
  reactor_.remove(events_.waker(id));
  reactor_.after(closer_grace, [this, id, opener] {
    const bool alive = ::kill(*opener, 0) == 0;
    release_handle(id, alive ? opener : std::nullopt);
  });
}

void host::check_handle(event_channels::handle_id id, pid_t closer) {
  if (events_.is_last_reference_closed(id)) release_handle(id, closer);
}

void host::release_handle(event_channels::handle_id id, std::optional<pid_t> closer) {
  reactor_.remove(events_.waker(id));
  const auto bug_count = events_.bugs().size();
  if (const auto victim = events_.release(id, closer)) kill_process(*victim);
  if (events_.bugs().size() != bug_count)
    log().error("domain {}: {}", events_.bugs().back().domain, events_.bugs().back().what);
}

void host::delay_event(std::uint8_t slot, std::uint32_t port) {
  const auto generation = generation_of(slot);
  reactor_.after(faults_.event_delay, [this, slot, port, generation] {
    if (generation_of(slot) == generation) events_.send_now(slot, port);
  });
}

void host::kill_process(pid_t process) {
  if (process > 1 && process != ::getpid()) ::kill(process, SIGKILL);
}

void host::note_missing_call(call_kind kind, std::uint64_t number, std::uint64_t command,
                             pid_t process) {
  if (!missing_calls_.emplace(kind, number, command).second) return;
  log().warn("process {}: {} {}, command {}, is not simulated and fails with ENOSYS", process,
             kind == call_kind::hypercall ? "hypercall" : "privcmd ioctl", number, command);
}

}  // namespace xenpv::sim
