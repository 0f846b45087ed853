#include "report.hpp"

#include <fmt/format.h>

#include "xenpv/async/cpu_set.hpp"

namespace xenpv::evtchn_app {
namespace {

using cli::json;
using diag::fact;

template <class T>
json plain(const T& value) {
  return value;
}
json plain(port value) {
  return raw(value);
}
json plain(domid value) {
  return raw(value);
}
json plain(xen::port_type value) {
  return to_string(value);
}

template <class T>
json fact_json(const fact<T>& of) {
  if (!of) return nullptr;
  return {{"value", plain(of->value)}, {"source", to_string(of->from)}};
}

/// A cell of CSV, in quotes where it needs them.
std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char each : text)
    out += each == '"' ? std::string("\"\"") : std::string(1, each);
  return out + "\"";
}

template <class T>
std::string cell(const T& value) {
  return fmt::format("{}", value);
}
std::string cell(xen::port_type value) {
  return std::string(to_string(value));
}
std::string cell(const std::vector<unsigned>& value) {
  return async::format_cpu_list(value);
}

template <class T>
std::string fact_cell(const fact<T>& of) {
  return of ? csv_cell(cell(of->value)) : std::string();
}

template <class T>
std::string source_cell(const fact<T>& of) {
  return of ? std::string(to_string(of->from)) : std::string();
}

}  // namespace

json to_json(const diag::channel& channel) {
  json out;
  out["kind"] = to_string(channel.kind);
  out["name"] = channel.name;
  out["detail"] = channel.detail;
  out["irq"] = channel.irq ? json(*channel.irq) : json();
  out["chip"] = channel.chip;
  out["can_move"] = channel.can_move();
  out["port"] = fact_json(channel.number);
  out["type"] = fact_json(channel.type);
  out["vcpu"] = fact_json(channel.vcpu);
  out["remote_domain"] = fact_json(channel.remote_domain);
  out["remote_port"] = fact_json(channel.remote_port);
  out["virq"] = fact_json(channel.virq);
  out["pirq"] = fact_json(channel.pirq);
  out["device"] = fact_json(channel.device);
  out["queue"] = fact_json(channel.queue);
  out["role"] = fact_json(channel.role);
  out["process"] = fact_json(channel.process);
  out["affinity"] = fact_json(channel.allowed);
  out["effective_affinity"] = fact_json(channel.effective);
  out["events"] = channel.total();
  out["counts"] = channel.counts;
  return out;
}

json to_json(const std::vector<diag::rung>& ladder) {
  json out = json::array();
  for (const auto& each : ladder)
    out.push_back({{"name", each.name},
                   {"used", each.used},
                   {"gives", each.gives},
                   {"needs", each.used ? json() : json(each.needs)}});
  return out;
}

json guest_json(const diag::inventory& all) {
  return {{"type", to_string(all.guest)},
          {"control_domain", all.is_control_domain},
          {"upcall", to_string(all.delivery)},
          {"event_abi", all.abi ? json(to_string(*all.abi)) : json()}};
}

std::string to_csv(const std::vector<unsigned>& cpus,
                   const std::vector<const diag::channel*>& channels) {
  std::string out =
      "irq,port,port_source,kind,name,type,vcpu,remote_domain,remote_port,virq,pirq,device,"
      "device_source,queue,role,process,affinity,effective_affinity,events";
  for (const auto cpu : cpus)
    out += fmt::format(",cpu{}", cpu);
  out += "\r\n";
  for (const auto* each : channels) {
    out += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
                       each->irq ? fmt::format("{}", *each->irq) : "", fact_cell(each->number),
                       source_cell(each->number), to_string(each->kind), csv_cell(each->name),
                       fact_cell(each->type), fact_cell(each->vcpu), fact_cell(each->remote_domain),
                       fact_cell(each->remote_port), fact_cell(each->virq), fact_cell(each->pirq),
                       fact_cell(each->device), source_cell(each->device), fact_cell(each->queue),
                       fact_cell(each->role), fact_cell(each->process), fact_cell(each->allowed),
                       fact_cell(each->effective), each->total());
    for (std::size_t column = 0; column < cpus.size(); ++column)
      out += column < each->counts.size() ? fmt::format(",{}", each->counts[column])
                                          : std::string(",");
    out += "\r\n";
  }
  return out;
}

}  // namespace xenpv::evtchn_app
