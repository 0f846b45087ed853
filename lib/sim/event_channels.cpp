#include "sim/event_channels.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace xenpv::sim {
namespace {

constexpr std::uint32_t virq_timer = 0;   // VIRQ_TIMER: bound by the kernel on every vCPU
constexpr std::uint32_t virq_count = 24;  // NR_VIRQS
constexpr std::uint32_t first_reserved_domid = 0x7FF0;

}  // namespace

event_channels::event_channels(shared_state& state, std::uint32_t max_channels)
    : state_(state),
      max_channels_(std::min<std::uint32_t>(max_channels, std::uint32_t{max_ports} - 1)) {}

shared_port& event_channels::at(std::uint8_t slot, std::uint32_t port) {
  return state_.domains[slot].ports[port];
}

port_link event_channels::link_of(std::uint8_t slot, std::uint32_t port) const {
  return port_link::unpack(state_.domains[slot].ports[port].link.load(std::memory_order_acquire));
}

domid event_channels::resolve(std::uint8_t slot, domid domain) const {
  if (domain != domid_self) return domain;
  return domid{static_cast<std::uint16_t>(state_.domains[slot].domain.load())};
}

std::optional<std::uint8_t> event_channels::find_domain(domid domain) const {
  for (std::size_t i = 0; i < max_domains; ++i)
    if (state_.domains[i].generation.load() != 0 && state_.domains[i].domain.load() == raw(domain))
      return static_cast<std::uint8_t>(i);
  return std::nullopt;
}

// The kernel binds its own ports first (xenstore, console, then the timer and IPIs of each vCPU),
// so ports bound by programs start well above 1.
void event_channels::bind_kernel_ports(std::uint8_t slot, unsigned cpus) {
  constexpr std::uint32_t ports_per_cpu = 5;
  for (std::uint32_t port = 1; port <= 2 + cpus * ports_per_cpu; ++port)
    at(slot, port).link.store(port_link{port_kind::kernel, 0, 0}.pack());
}

void event_channels::start_domain(std::uint8_t slot, domid domain, unsigned cpus) {
  for (std::uint32_t port = 0; port < max_ports; ++port) {
    at(slot, port).delivery.store(0);
    at(slot, port).link.store(0);
  }
  state_.domains[slot].domain.store(raw(domain));
  bind_kernel_ports(slot, cpus);
}

void event_channels::stop_domain(std::uint8_t slot) {
  std::erase_if(pinned_, [&](const auto& entry) { return entry.first.first == slot; });
  for (std::uint32_t port = 0; port < max_ports; ++port)
    close_port(slot, port);
}

void event_channels::resume_domain(std::uint8_t slot, domid domain, unsigned cpus) {
  for (auto& handle : handles_)
    if (handle.waker && handle.slot == slot) handle.stale = true;
  stop_domain(slot);
  start_domain(slot, domain, cpus);
}

void event_channels::attach(handle_id id, std::uint8_t slot, std::uint32_t port) {
  state_.handles[id.index].ports[port / 64].fetch_or(std::uint64_t{1} << (port % 64));
  at(slot, port).delivery.store(port_delivery{id.generation, id.index, false, false}.pack());
}

ioctl_result event_channels::allocate(std::uint8_t slot, port_link link) {
  for (std::uint32_t port = 1; port <= max_channels_; ++port) {
    if (link_of(slot, port).kind != port_kind::closed) continue;
    at(slot, port).link.store(link.pack(), std::memory_order_release);
    return port;
  }
  return std::errc::no_space_on_device;
}

void event_channels::pin(std::uint8_t slot, std::uint32_t port) {
  ++pinned_[{slot, port}].pins;
}

void event_channels::unpin(std::uint8_t slot, std::uint32_t port) {
  const auto entry = pinned_.find({slot, port});
  if (entry == pinned_.end() || --entry->second.pins != 0) return;
  const bool unbound = entry->second.unbound;
  pinned_.erase(entry);
  if (unbound) close_port(slot, port);
}

void event_channels::unbind_port(std::uint8_t slot, std::uint32_t port) {
  const auto entry = pinned_.find({slot, port});
  if (entry == pinned_.end()) {
    close_port(slot, port);
    return;
  }
  entry->second.unbound = true;
  at(slot, port).delivery.store(0);
}

void event_channels::close_port(std::uint8_t slot, std::uint32_t port) {
  const auto link = link_of(slot, port);
  at(slot, port).delivery.store(0);
  at(slot, port).link.store(0);
  if (link.kind != port_kind::interdomain) return;
  // Xen leaves the remote end unbound, so that this domain can bind it again.
  const auto self = state_.domains[slot].domain.load();
  at(link.remote_slot, link.remote_port).link.store(port_link{port_kind::unbound, 0, self}.pack());
}

bool event_channels::close_stale(std::uint8_t slot, std::uint32_t port) {
  // irq_from_evtchn() returns -1 for a closed port, which triggers a BUG_ON(). If the kernel has
  // since reused the port number, it unbinds the new port instead.
  if (link_of(slot, port).kind == port_kind::closed) return false;
  close_port(slot, port);
  return true;
}

ioctl_result event_channels::bind_unbound(handle_id id, domid remote) {
  auto* handle = find(id);
  if (handle == nullptr) return std::errc::bad_file_descriptor;
  if (handle->restricted) return std::errc::permission_denied;
  const auto slot = handle->slot;
  const auto port = allocate(slot, {port_kind::unbound, 0, raw(resolve(slot, remote))});
  if (port) attach(id, slot, *port);
  return port;
}

ioctl_result event_channels::bind_interdomain(handle_id id, domid remote,
                                              std::uint32_t remote_port) {
  auto* handle = find(id);
  if (handle == nullptr) return std::errc::bad_file_descriptor;
  if (handle->restricted && *handle->restricted != remote) return std::errc::permission_denied;
  const auto slot = handle->slot;
  const auto other = find_domain(resolve(slot, remote));
  if (!other) return std::errc::no_such_process;
  const auto self = state_.domains[slot].domain.load();
  if (remote_port == 0 || remote_port >= max_ports) return std::errc::invalid_argument;
  const auto remote_link = link_of(*other, remote_port);
  if (remote_link.kind != port_kind::unbound || remote_link.remote_port != self)
    return std::errc::invalid_argument;
  const auto port = allocate(slot, {port_kind::interdomain, *other, remote_port});
  if (!port) return port;
  at(*other, remote_port).link.store(port_link{port_kind::interdomain, slot, *port}.pack());
  attach(id, slot, *port);
  // Like Xen's evtchn_bind_interdomain(), make the new port pending once: "we may have lost
  // notifications on the remote unbound port".
  deliver(state_, *this, slot, *port);
  return port;
}

ioctl_result event_channels::bind_virq(handle_id id, std::uint32_t virq) {
  auto* handle = find(id);
  if (handle == nullptr) return std::errc::bad_file_descriptor;
  if (handle->restricted) return std::errc::permission_denied;
  if (virq >= virq_count) return std::errc::invalid_argument;
  if (virq == virq_timer) return std::errc::file_exists;
  for (std::uint32_t port = 1; port <= max_channels_; ++port) {
    const auto link = link_of(handle->slot, port);
    if (link.kind == port_kind::virq && link.remote_port == virq) return std::errc::file_exists;
  }
  const auto port = allocate(handle->slot, {port_kind::virq, 0, virq});
  if (port) attach(id, handle->slot, *port);
  return port;
}

ioctl_result event_channels::unbind(handle_id id, std::uint32_t port, pid_t caller) {
  auto* handle = find(id);
  if (handle == nullptr) return std::errc::bad_file_descriptor;
  if (port >= max_ports) return std::errc::invalid_argument;
  auto& shared = state_.handles[id.index];
  if (!shared.has_port(port)) return std::errc::not_connected;
  if (handle->stale && !close_stale(handle->slot, port)) {
    const auto domain = domid{static_cast<std::uint16_t>(state_.domains[handle->slot].domain)};
    bugs_.push_back(
        {domain, caller, port,
         fmt::format("kernel BUG at drivers/xen/evtchn.c: unbind of port {}, whose handle "
                     "was open across save/restore",
                     port)});
    return std::errc::owner_dead;
  }
  if (!handle->stale) unbind_port(handle->slot, port);
  shared.ports[port / 64].fetch_and(~(std::uint64_t{1} << (port % 64)));
  return std::uint32_t{0};
}

ioctl_result event_channels::restrict_to(handle_id id, domid domain) {
  auto* handle = find(id);
  if (handle == nullptr) return std::errc::bad_file_descriptor;
  if (handle->restricted) return std::errc::permission_denied;
  if (raw(domain) == 0 || raw(domain) >= first_reserved_domid) return std::errc::invalid_argument;
  handle->restricted = domain;
  return std::uint32_t{0};
}

void event_channels::raise_virq(std::uint8_t slot, std::uint32_t virq) {
  for (std::uint32_t port = 1; port <= max_channels_; ++port) {
    const auto link = link_of(slot, port);
    if (link.kind == port_kind::virq && link.remote_port == virq)
      deliver(state_, *this, slot, port);
  }
}

void event_channels::send_now(std::uint8_t slot, std::uint32_t port) {
  const auto link = link_of(slot, port);
  if (link.kind == port_kind::interdomain)
    deliver(state_, *this, link.remote_slot, link.remote_port);
}

bool event_channels::is_user_port(std::uint8_t slot, std::uint32_t port) const {
  return port < max_ports &&
         port_delivery::unpack(state_.domains[slot].ports[port].delivery.load()).generation != 0;
}

bool event_channels::is_quiet(std::uint8_t slot) const {
  for (std::uint32_t port = 1; port < max_ports; ++port) {
    const auto link = link_of(slot, port);
    if (link.kind != port_kind::interdomain || link.remote_slot == slot) continue;
    const auto& peer = state_.domains[link.remote_slot].ports[link.remote_port];
    const auto delivery = port_delivery::unpack(peer.delivery.load());
    if (delivery.masked || delivery.pending) return false;
  }
  return true;
}

std::size_t event_channels::port_count(std::uint8_t slot) const {
  std::size_t count = 0;
  for (std::uint32_t port = 1; port < max_ports; ++port)
    if (link_of(slot, port).kind != port_kind::closed) ++count;
  return count;
}

std::size_t event_channels::user_port_count(std::uint8_t slot) const {
  std::size_t count = 0;
  for (std::uint32_t port = 1; port < max_ports; ++port)
    if (is_user_port(slot, port)) ++count;
  return count;
}

}  // namespace xenpv::sim
