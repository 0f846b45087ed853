#include "channels/join.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace xenpv::channels {
namespace {

using xen::port_status;
using xen::port_type;
using candidates = std::vector<channel*>;

constexpr std::uint32_t virq_timer = 0;
constexpr std::uint32_t virq_debug = 1;
constexpr std::uint32_t virq_xenpmu = 13;

std::optional<channel_kind> kind_of_virq(std::uint32_t virq) {
  if (virq == virq_timer) return channel_kind::timer;
  if (virq == virq_debug) return channel_kind::debug;
  if (virq == virq_xenpmu) return channel_kind::pmu;
  return std::nullopt;
}

/// IRQ and port numbers are both allocated in binding order, lowest first, so lists of equal length
/// are matched position by position.
template <class Port, class Assign>
void pair_up(const candidates& rows, const std::vector<Port>& ports, Assign assign) {
  if (rows.empty() || rows.size() != ports.size()) return;
  const auto source = rows.size() == 1 ? evidence::name : evidence::order;
  for (std::size_t i = 0; i < rows.size(); ++i)
    assign(*rows[i], ports[i], source);
}

constexpr auto set_number = [](channel& row, port number, evidence source) {
  row.number = {{number, source}};
};

/// Interrupt names for the VIRQs that Linux itself binds (drivers/xen, arch/x86/xen).
std::string_view row_name_of_virq(std::uint32_t virq) {
  if (virq == 2) return "hvc_console";
  if (virq == 9) return "xen-pcpu";
  return virq == 16 ? "mce" : "";
}

candidates without_port(std::vector<channel>& channels, auto matches) {
  candidates out;
  for (auto& entry : channels)
    if (entry.irq && !entry.number && matches(entry)) out.push_back(&entry);
  std::sort(out.begin(), out.end(),
            [](const channel* a, const channel* b) { return *a->irq < *b->irq; });
  return out;
}

/// vCPU numbers equal CPU numbers (xen_vcpu_nr() differs only if vCPUs are omitted).
void join_per_cpu(const std::vector<port_status>& ports, std::vector<channel>& channels) {
  std::map<std::uint32_t, std::vector<port>> ipis;
  for (const auto& status : ports) {
    if (status.type == port_type::ipi) ipis[status.vcpu].push_back(status.number);
    const auto virq = status.type == port_type::virq ? status.number_of_irq : std::nullopt;
    const auto kind = virq ? kind_of_virq(*virq) : std::nullopt;
    const auto row_name = virq ? row_name_of_virq(*virq) : std::string_view();
    if (!kind && row_name.empty()) continue;
    const auto rows = without_port(channels, [&](const channel& entry) {
      return kind ? entry.kind == *kind && entry.of_cpu == status.vcpu : entry.name == row_name;
    });
    if (rows.size() == 1) rows.front()->number = {{status.number, evidence::name}};
  }
  for (const auto& [cpu, numbers] : ipis) {
    const auto rows = without_port(channels, [vcpu = cpu](const channel& entry) {
      return (entry.kind == channel_kind::ipi || entry.kind == channel_kind::spinlock) &&
             entry.of_cpu == vcpu;
    });
    pair_up(rows, numbers, set_number);
  }
}

void join_pirqs(const std::vector<port_status>& ports, std::vector<channel>& channels) {
  std::vector<port> others;
  for (const auto& status : ports) {
    if (status.type != port_type::pirq) continue;
    // For an IO-APIC line, the GSI, PIRQ and Linux IRQ numbers are equal.
    const auto rows = without_port(channels, [&](const channel& entry) {
      return entry.kind == channel_kind::pirq && entry.irq == status.number_of_irq;
    });
    if (rows.size() == 1)
      rows.front()->number = {{status.number, evidence::name}};
    else
      others.push_back(status.number);
  }
  // Match the others by order: Xen assigns the PIRQ of a message-signalled interrupt.
  const auto rows =
      without_port(channels, [](const channel& entry) { return entry.kind == channel_kind::pirq; });
  pair_up(rows, others, set_number);
}

/// Interrupt names that Linux drivers use for a published port, at either end.
std::vector<std::string> row_names(const store_port& entry) {
  const bool is_backend = entry.owner != domid_self;
  if (entry.type == "console") return {is_backend ? "evtchn:xenconsoled" : "hvc_console"};
  if (entry.type == "store")
    return is_backend ? std::vector<std::string>{"evtchn:xenstored", "evtchn:oxenstored"}
                      : std::vector<std::string>{"xenbus"};
  if (entry.type == "vbd") return {is_backend ? "blkif-backend" : "blkif"};
  if (entry.type != "vif") return {entry.type};
  const auto stem = is_backend ? fmt::format("vif{}.{}", entry.owner, entry.number)
                               : fmt::format("vif{}", entry.number);
  const auto queue = fmt::format("{}-q{}", stem, entry.queue.value_or(0));
  if (entry.role == "ctrl") return {stem + "-control"};
  return {entry.role.empty() ? queue : queue + "-" + entry.role, queue, stem};
}

/// Returns this domain's port for the connection. For a connection that another domain published,
/// looks the port up in `ports`, the hypervisor's list; returns nullopt if there is no list or no
/// match.
std::optional<port> local_port(const store_port& entry, const std::vector<port_status>* ports) {
  if (entry.owner == domid_self) return entry.number_of_port;
  if (ports == nullptr) return std::nullopt;
  for (const auto& status : *ports)
    if (status.remote_domain == entry.owner && status.remote_port == entry.number_of_port)
      return status.number;
  return std::nullopt;
}

void describe_by_store(channel& out, const store_port& entry, evidence source) {
  const bool is_backend = entry.owner != domid_self;
  const auto device =
      is_backend ? fmt::format("/local/domain/{}/{}", entry.owner, entry.device) : entry.device;
  out.device = {{device, source}};
  if (entry.queue) out.queue = {{*entry.queue, source}};
  if (!entry.role.empty()) out.role = {{entry.role, source}};
  out.type = {{port_type::interdomain, evidence::xenstore}};
  out.remote_domain = {{is_backend ? entry.owner : entry.backend, evidence::xenstore}};
  if (is_backend) out.remote_port = {{entry.number_of_port, evidence::xenstore}};
}

struct published {
  const store_port* entry;  ///< nullptr if no frontend published the port
  std::optional<port> local;
};

/// In domain 0, xenstored also binds VIRQ_DOM_EXC and the remote end of the kernel's own ring.
std::vector<port> other_ports_of_xenstored(const raw_facts& facts) {
  constexpr std::uint32_t virq_dom_exc = 3;
  std::vector<port> out;
  if (!facts.ports.value || !facts.xenstored_port) return out;
  for (const auto& status : *facts.ports.value) {
    const bool is_exception =
        status.type == port_type::virq && status.number_of_irq == virq_dom_exc;
    const bool is_ring = status.type == port_type::interdomain &&
                         status.remote_port == facts.xenstored_port &&
                         status.remote_domain == domid_0;
    if (is_exception || is_ring) out.push_back(status.number);
  }
  return out;
}

void join_published(const std::vector<store_port>& all, const raw_facts& facts,
                    std::vector<channel>& channels) {
  const auto* ports = facts.ports.value ? &*facts.ports.value : nullptr;
  std::map<std::string, std::vector<published>> by_row_name;
  for (const auto number : other_ports_of_xenstored(facts))
    for (const auto* name : {"evtchn:xenstored", "evtchn:oxenstored"})
      by_row_name[name].push_back({nullptr, number});
  for (const auto& entry : all) {
    // Both ends of a connection can be in this domain; a backend in another domain has no port
    // here.
    const auto local = local_port(entry, ports);
    if (entry.owner != domid_self && ports != nullptr && !local) continue;
    for (const auto& name : row_names(entry)) {
      const auto fits = [&](const channel& candidate) {
        return candidate.irq && candidate.name == name;
      };
      if (std::none_of(channels.begin(), channels.end(), fits)) continue;
      by_row_name[name].push_back({&entry, local});
      break;
    }
  }
  for (auto& [row_name, items] : by_row_name) {
    const auto rows = without_port(
        channels, [&name = row_name](const channel& candidate) { return candidate.name == name; });
    std::stable_sort(items.begin(), items.end(), [](const published& a, const published& b) {
      return a.local && b.local && raw(*a.local) < raw(*b.local);
    });
    pair_up(rows, items, [](channel& row, const published& item, evidence source) {
      if (item.local) row.number = {{*item.local, source}};
      if (item.entry != nullptr) describe_by_store(row, *item.entry, source);
    });
  }
}

channel* with_port(std::vector<channel>& channels, port number) {
  for (auto& candidate : channels)
    if (candidate.number && candidate.number->value == number) return &candidate;
  return nullptr;
}

channel& add_port(std::vector<channel>& channels, port number, evidence source) {
  auto& out = channels.emplace_back();
  out.number = {{number, source}};
  return out;
}

void add_rest_of_store(const std::vector<store_port>& all, const std::vector<port_status>* ports,
                       std::vector<channel>& channels) {
  for (const auto& entry : all) {
    const auto local = local_port(entry, ports);
    if (!local || with_port(channels, *local) != nullptr) continue;
    // Skip closed ports: a detached driver leaves its nodes behind.
    const auto is_open = [&](const port_status& status) { return status.number == *local; };
    if (ports != nullptr && std::none_of(ports->begin(), ports->end(), is_open)) continue;
    auto& out = add_port(channels, *local, evidence::xenstore);
    out.kind = entry.type == "console" ? channel_kind::console
               : entry.type == "store" ? channel_kind::xenbus
                                       : channel_kind::device;
    describe_by_store(out, entry, evidence::xenstore);
  }
}

/// Sets the kind of a port without an interrupt.
void classify_by_status(channel& out, const port_status& status) {
  if (status.type == port_type::unbound) out.kind = channel_kind::unbound;
  if (status.type == port_type::pirq) out.kind = channel_kind::pirq;
  if (status.type == port_type::virq)
    out.kind = kind_of_virq(status.number_of_irq.value_or(~0U)).value_or(channel_kind::virq);
  if (status.type == port_type::ipi) out.kind = channel_kind::ipi;
}

void describe_by_status(channel& out, const port_status& status) {
  out.type = {{status.type, evidence::hypervisor}};
  out.vcpu = {{status.vcpu, evidence::hypervisor}};
  if (status.remote_domain) out.remote_domain = {{*status.remote_domain, evidence::hypervisor}};
  if (status.remote_port) out.remote_port = {{*status.remote_port, evidence::hypervisor}};
  if (status.type == port_type::virq && status.number_of_irq)
    out.virq = {{*status.number_of_irq, evidence::hypervisor}};
  if (status.type == port_type::pirq && status.number_of_irq)
    out.pirq = {{*status.number_of_irq, evidence::hypervisor}};
}

void join_status(const std::vector<port_status>& ports, std::vector<channel>& channels) {
  for (const auto& status : ports) {
    auto* entry = with_port(channels, status.number);
    if (entry == nullptr) {
      entry = &add_port(channels, status.number, evidence::hypervisor);
      classify_by_status(*entry, status);
    }
    describe_by_status(*entry, status);
  }
}

}  // namespace

void join_ports(const raw_facts& facts, std::vector<channel>& channels) {
  const auto* ports = facts.ports.value ? &*facts.ports.value : nullptr;
  const auto published_ports =
      facts.store.value ? find_store_ports(*facts.store.value) : std::vector<store_port>();
  if (facts.xenstored_port)
    for (auto& entry : channels)
      if (entry.kind == channel_kind::xenbus)
        entry.number = {{*facts.xenstored_port, evidence::proc}};
  if (ports != nullptr) {
    join_per_cpu(*ports, channels);
    join_pirqs(*ports, channels);
  }
  join_published(published_ports, facts, channels);
  add_rest_of_store(published_ports, ports, channels);
  if (ports != nullptr) join_status(*ports, channels);
}

}  // namespace xenpv::channels
