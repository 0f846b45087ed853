#include "diag/join.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace xenpv::diag {
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

/// Interrupt and port numbers are both given out in the order of binding, lowest first: pairs of
/// equally many are taken in that order.
template <class Port, class Give>
void pair_up(const candidates& rows, const std::vector<Port>& ports, Give give) {
  if (rows.empty() || rows.size() != ports.size()) return;
  const auto from = rows.size() == 1 ? evidence::name : evidence::order;
  for (std::size_t i = 0; i < rows.size(); ++i)
    give(*rows[i], ports[i], from);
}

/// What Linux calls the interrupts of the VIRQs it binds itself (drivers/xen, arch/x86/xen).
std::string_view row_name_of_virq(std::uint32_t virq) {
  switch (virq) {
    case 2:
      return "hvc_console";
    case 9:
      return "xen-pcpu";
    case 16:
      return "mce";
    default:
      return {};
  }
}

candidates without_port(std::vector<channel>& channels, auto matches) {
  candidates out;
  for (auto& each : channels)
    if (each.irq && !each.number && matches(each)) out.push_back(&each);
  std::sort(out.begin(), out.end(),
            [](const channel* a, const channel* b) { return *a->irq < *b->irq; });
  return out;
}

/// The vCPU's number is the CPU's (xen_vcpu_nr() differs only where vCPUs are left out).
void join_per_cpu(const std::vector<port_status>& ports, std::vector<channel>& channels) {
  std::map<std::uint32_t, std::vector<port>> ipis;
  for (const auto& status : ports) {
    if (status.type == port_type::ipi) ipis[status.vcpu].push_back(status.number);
    const auto kind = status.type == port_type::virq
                          ? kind_of_virq(status.number_of_irq.value_or(~0U))
                          : std::nullopt;
    const auto row_name = status.type == port_type::virq
                              ? row_name_of_virq(status.number_of_irq.value_or(~0U))
                              : std::string_view();
    if (!kind && row_name.empty()) continue;
    const auto rows = without_port(channels, [&](const channel& each) {
      return kind ? each.kind == *kind && each.of_cpu == status.vcpu : each.name == row_name;
    });
    if (rows.size() == 1) rows.front()->number = {{status.number, evidence::name}};
  }
  for (const auto& [cpu, numbers] : ipis) {
    const auto rows = without_port(channels, [vcpu = cpu](const channel& each) {
      return (each.kind == channel_kind::ipi || each.kind == channel_kind::spinlock) &&
             each.of_cpu == vcpu;
    });
    pair_up(rows, numbers, [](channel& row, port number, evidence from) {
      row.number = {{number, from}};
    });
  }
}

void join_pirqs(const std::vector<port_status>& ports, std::vector<channel>& channels) {
  std::vector<port> others;
  for (const auto& status : ports) {
    if (status.type != port_type::pirq) continue;
    // A line of the IO-APIC has one number for all three: GSI, PIRQ and Linux' IRQ.
    const auto rows = without_port(channels, [&](const channel& each) {
      return each.kind == channel_kind::pirq && each.irq == status.number_of_irq;
    });
    if (rows.size() == 1)
      rows.front()->number = {{status.number, evidence::name}};
    else
      others.push_back(status.number);
  }
  // Message-signalled ones have a PIRQ that Xen chose.
  const auto rows =
      without_port(channels, [](const channel& each) { return each.kind == channel_kind::pirq; });
  pair_up(rows, others, [](channel& row, port number, evidence from) {
    row.number = {{number, from}};
  });
}

/// What the drivers of Linux call the interrupt of a published port, at either end.
std::vector<std::string> row_names(const store_port& at) {
  const bool is_backend = at.owner != domid_self;
  if (at.type == "console")
    return is_backend ? std::vector<std::string>{"evtchn:xenconsoled"}
                      : std::vector<std::string>{"hvc_console"};
  if (at.type == "store")
    return is_backend ? std::vector<std::string>{"evtchn:xenstored", "evtchn:oxenstored"}
                      : std::vector<std::string>{"xenbus"};
  if (at.type == "vbd") return {is_backend ? "blkif-backend" : "blkif"};
  if (at.type != "vif") return {at.type};
  const auto stem =
      is_backend ? fmt::format("vif{}.{}", at.owner, at.number) : fmt::format("vif{}", at.number);
  const auto queue = fmt::format("{}-q{}", stem, at.queue.value_or(0));
  if (at.role == "ctrl") return {stem + "-control"};
  return {at.role.empty() ? queue : queue + "-" + at.role, queue, stem};
}

/// The port at this end; nullopt for a back end's while the hypervisor is not asked.
std::optional<port> local_port(const store_port& at, const std::vector<port_status>* ports) {
  if (at.owner == domid_self) return at.number_of_port;
  if (ports == nullptr) return std::nullopt;
  for (const auto& status : *ports)
    if (status.remote_domain == at.owner && status.remote_port == at.number_of_port)
      return status.number;
  return std::nullopt;
}

void describe_by_store(channel& out, const store_port& at, evidence joined) {
  const bool is_backend = at.owner != domid_self;
  out.device = {
      {is_backend ? fmt::format("/local/domain/{}/{}", at.owner, at.device) : at.device, joined}};
  if (at.queue) out.queue = {{*at.queue, joined}};
  if (!at.role.empty()) out.role = {{at.role, joined}};
  out.type = {{port_type::interdomain, evidence::xenstore}};
  out.remote_domain = {{is_backend ? at.owner : at.backend, evidence::xenstore}};
  if (is_backend) out.remote_port = {{at.number_of_port, evidence::xenstore}};
}

struct published {
  const store_port* at;  ///< nullptr: no front end's
  std::optional<port> local;
};

/// In domain 0 xenstored holds VIRQ_DOM_EXC and the other end of the kernel's own ring, too.
std::vector<port> other_ports_of_xenstored(const readings& from) {
  constexpr std::uint32_t virq_dom_exc = 3;
  std::vector<port> out;
  if (!from.ports.value || !from.xenstored_port) return out;
  for (const auto& status : *from.ports.value) {
    const bool is_exception =
        status.type == port_type::virq && status.number_of_irq == virq_dom_exc;
    const bool is_ring = status.type == port_type::interdomain &&
                         status.remote_port == from.xenstored_port &&
                         status.remote_domain == domid_0;
    if (is_exception || is_ring) out.push_back(status.number);
  }
  return out;
}

void join_published(const std::vector<store_port>& all, const readings& from,
                    std::vector<channel>& channels) {
  const auto* ports = from.ports.value ? &*from.ports.value : nullptr;
  std::map<std::string, std::vector<published>> by_row_name;
  for (const auto number : other_ports_of_xenstored(from))
    for (const auto* name : {"evtchn:xenstored", "evtchn:oxenstored"})
      by_row_name[name].push_back({nullptr, number});
  for (const auto& at : all) {
    // Two domains' ends can both be here; a back end that is elsewhere has no port here.
    const auto local = local_port(at, ports);
    if (at.owner != domid_self && ports != nullptr && !local) continue;
    for (const auto& name : row_names(at)) {
      const auto fits = [&](const channel& each) { return each.irq && each.name == name; };
      if (std::none_of(channels.begin(), channels.end(), fits)) continue;
      by_row_name[name].push_back({&at, local});
      break;
    }
  }
  for (auto& [row_name, wanted] : by_row_name) {
    const auto rows = without_port(
        channels, [&name = row_name](const channel& each) { return each.name == name; });
    std::stable_sort(wanted.begin(), wanted.end(), [](const published& a, const published& b) {
      return a.local && b.local && raw(*a.local) < raw(*b.local);
    });
    pair_up(rows, wanted, [](channel& row, const published& each, evidence joined) {
      if (each.local) row.number = {{*each.local, joined}};
      if (each.at != nullptr) describe_by_store(row, *each.at, joined);
    });
  }
}

channel* with_port(std::vector<channel>& channels, port number) {
  const auto at = std::find_if(channels.begin(), channels.end(), [number](const channel& each) {
    return each.number && each.number->value == number;
  });
  return at == channels.end() ? nullptr : &*at;
}

channel& add_port(std::vector<channel>& channels, port number, evidence from) {
  auto& out = channels.emplace_back();
  out.number = {{number, from}};
  return out;
}

void add_rest_of_store(const std::vector<store_port>& all, const std::vector<port_status>* ports,
                       std::vector<channel>& channels) {
  for (const auto& at : all) {
    const auto local = local_port(at, ports);
    if (!local || with_port(channels, *local) != nullptr) continue;
    // Ours, but closed by now: the nodes of a driver that let go stay behind.
    const auto is_open = [&](const port_status& each) { return each.number == *local; };
    if (ports != nullptr && std::none_of(ports->begin(), ports->end(), is_open)) continue;
    auto& out = add_port(channels, *local, evidence::xenstore);
    out.kind = at.type == "console" ? channel_kind::console
               : at.type == "store" ? channel_kind::xenbus
                                    : channel_kind::device;
    describe_by_store(out, at, evidence::xenstore);
  }
}

/// What a port without an interrupt is.
void name_by_status(channel& out, const port_status& status) {
  switch (status.type) {
    case port_type::unbound:
      out.kind = channel_kind::unbound;
      return;
    case port_type::interdomain:
      return;
    case port_type::pirq:
      out.kind = channel_kind::pirq;
      return;
    case port_type::virq:
      out.kind = kind_of_virq(status.number_of_irq.value_or(~0U)).value_or(channel_kind::virq);
      return;
    case port_type::ipi:
      out.kind = channel_kind::ipi;
      return;
  }
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
    auto* found = with_port(channels, status.number);
    if (found == nullptr) {
      found = &add_port(channels, status.number, evidence::hypervisor);
      name_by_status(*found, status);
    }
    describe_by_status(*found, status);
  }
}

}  // namespace

void join_ports(const readings& from, std::vector<channel>& channels) {
  const auto* ports = from.ports.value ? &*from.ports.value : nullptr;
  const auto published_ports =
      from.store.value ? find_store_ports(*from.store.value) : std::vector<store_port>();
  if (from.xenstored_port)
    for (auto& each : channels)
      if (each.kind == channel_kind::xenbus) each.number = {{*from.xenstored_port, evidence::proc}};
  if (ports != nullptr) {
    join_per_cpu(*ports, channels);
    join_pirqs(*ports, channels);
  }
  join_published(published_ports, from, channels);
  add_rest_of_store(published_ports, ports, channels);
  if (ports != nullptr) join_status(*ports, channels);
}

}  // namespace xenpv::diag
