#include "report.hpp"

#include <fmt/format.h>

#include "xenpv/async/cpu_set.hpp"

namespace xenpv::evtchn_app {
namespace {

using channels::fact;
using cli::json;

template <class T>
json plain(const T& value) {
  if constexpr (std::is_same_v<T, xen::port_type>)
    return to_string(value);
  else if constexpr (std::is_enum_v<T>)
    return raw(value);
  else
    return value;
}

template <class T>
json fact_json(const fact<T>& entry) {
  if (!entry) return nullptr;
  return {{"value", plain(entry->value)}, {"source", to_string(entry->from)}};
}

/// Formats a CSV cell, quoted if necessary.
std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text)
    out += c == '"' ? std::string("\"\"") : std::string(1, c);
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
std::string fact_cell(const fact<T>& entry) {
  return entry ? csv_cell(cell(entry->value)) : std::string();
}

template <class T>
std::string source_cell(const fact<T>& entry) {
  return entry ? std::string(to_string(entry->from)) : std::string();
}

}  // namespace

json to_json(const channels::channel& channel) {
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

json to_json(const std::vector<channels::source_status>& sources) {
  return cli::json_array(sources, [](const channels::source_status& source) {
    return json{{"name", source.name},
                {"used", source.used},
                {"gives", source.gives},
                {"needs", source.used ? json() : json(source.needs)}};
  });
}

json guest_json(const channels::inventory& inventory, std::optional<channels::event_abi> abi) {
  return {{"type", to_string(inventory.guest)},
          {"control_domain", inventory.is_control_domain},
          {"upcall", to_string(inventory.delivery)},
          {"event_abi", abi ? json(to_string(*abi)) : json()}};
}

std::string to_csv(const std::vector<unsigned>& cpus,
                   const std::vector<const channels::channel*>& channels) {
  std::string out =
      "irq,port,port_source,kind,name,type,vcpu,remote_domain,remote_port,virq,pirq,device,"
      "device_source,queue,role,process,affinity,effective_affinity,events";
  for (const auto cpu : cpus)
    out += fmt::format(",cpu{}", cpu);
  out += "\r\n";
  for (const auto* entry : channels) {
    out +=
        fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
                    entry->irq ? fmt::format("{}", *entry->irq) : "", fact_cell(entry->number),
                    source_cell(entry->number), to_string(entry->kind), csv_cell(entry->name),
                    fact_cell(entry->type), fact_cell(entry->vcpu), fact_cell(entry->remote_domain),
                    fact_cell(entry->remote_port), fact_cell(entry->virq), fact_cell(entry->pirq),
                    fact_cell(entry->device), source_cell(entry->device), fact_cell(entry->queue),
                    fact_cell(entry->role), fact_cell(entry->process), fact_cell(entry->allowed),
                    fact_cell(entry->effective), entry->total());
    for (std::size_t column = 0; column < cpus.size(); ++column)
      out += column < entry->counts.size() ? fmt::format(",{}", entry->counts[column])
                                           : std::string(",");
    out += "\r\n";
  }
  return out;
}

}  // namespace xenpv::evtchn_app
