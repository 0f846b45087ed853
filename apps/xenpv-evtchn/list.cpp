#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "cli/json.hpp"
#include "cli/table.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "place.hpp"
#include "report.hpp"
#include "xenpv/async/cpu_set.hpp"

namespace xenpv::evtchn_app {
namespace {

using channels::channel;

struct list_options {
  std::string root;
  std::vector<channels::channel_kind> kinds;
  std::optional<unsigned> cpu;
  std::optional<domid> domain;
  bool json = false;
  bool csv = false;
  bool lsevtchn = false;
};

result<channels::channel_kind> as_kind(std::string_view text) {
  if (const auto kind = channels::parse_channel_kind(text)) return *kind;
  return make_error(errc::invalid_argument, fmt::format("kind '{}'", text),
                    "expected timer, ipi, spinlock, debug, pmu, xenbus, console, device, user, "
                    "pirq, virq, unbound or other");
}

bool is_on(const channel& entry, unsigned cpu) {
  if (entry.of_cpu) return entry.of_cpu == cpu;
  if (entry.effective) return std::ranges::count(entry.effective->value, cpu) > 0;
  return entry.vcpu && entry.vcpu->value == cpu;
}

std::vector<const channel*> selected(const channels::inventory& inventory,
                                     const list_options& options) {
  std::vector<const channel*> out;
  for (const auto& entry : inventory.channels) {
    const bool fits = options.kinds.empty() || std::ranges::count(options.kinds, entry.kind) > 0;
    if (fits && (!options.cpu || is_on(entry, *options.cpu))) out.push_back(&entry);
  }
  return out;
}

/// Formats the port: "15", or "~15" if it was inferred from the binding order.
std::string port_cell(const channel& entry) {
  if (!entry.number) return "";
  return fmt::format("{}{}", entry.number->from == channels::evidence::order ? "~" : "",
                     entry.number->value);
}

/// Formats the remote end: "1:15" is port 15 of domain 1, "1:?" an unknown port of domain 1.
std::string peer_cell(const channel& entry) {
  if (entry.virq) return "virq " + xen::virq_name(entry.virq->value);
  if (entry.pirq) return fmt::format("pirq {}", entry.pirq->value);
  if (!entry.remote_domain) return "";
  return fmt::format("{}:{}", entry.remote_domain->value,
                     entry.remote_port ? fmt::format("{}", entry.remote_port->value) : "?");
}

std::string device_cell(const channel& entry) {
  if (!entry.device) return entry.process ? fmt::format("process {}", entry.process->value) : "";
  auto out = entry.device->value;
  if (entry.queue) out += fmt::format(" queue {}", entry.queue->value);
  if (entry.role) out += " " + entry.role->value;
  return out;
}

std::string cpu_cell(const channel& entry) {
  if (entry.effective && !entry.effective->value.empty())
    return async::format_cpu_list(entry.effective->value);
  if (entry.of_cpu) return fmt::format("{}", *entry.of_cpu);
  return entry.vcpu ? fmt::format("{}", entry.vcpu->value) : "";
}

void print_table(std::ostream& out, const std::vector<const channel*>& channels) {
  using cli::column;
  using cli::right_column;
  cli::table table({right_column("IRQ"), right_column("PORT"), column{"KIND"}, column{"NAME"},
                    column{"PEER"}, right_column("CPU"), column{"AFFINITY"}, right_column("EVENTS"),
                    column{"BELONGS-TO"}});
  for (const auto* entry : channels)
    table.add_row(cli::cells_of(
        entry->irq, port_cell(*entry), to_string(entry->kind), entry->name, peer_cell(*entry),
        cpu_cell(*entry), entry->allowed ? async::format_cpu_list(entry->allowed->value) : "",
        entry->irq ? fmt::format("{}", entry->total()) : "", device_cell(*entry)));
  table.print(out);
}

void print_json(std::ostream& out, const channels::inventory& inventory,
                const std::vector<const channel*>& channels) {
  auto document = cli::json_document("xenpv-evtchn.list", 1);
  document["guest"] = guest_json(inventory);
  document["sources"] = to_json(inventory.ladder);
  document["cpus"] = inventory.cpus;
  document["events_per_cpu"] = inventory.events_per_cpu();
  document["channels"] =
      cli::json_array(channels, [](const channel* entry) { return to_json(*entry); });
  document["problems"] = inventory.problems;
  cli::print_json(out, document);
}

std::vector<xen::port_status> ports_of(const list_options& options) {
  auto ports =
      channels::read_ports(channels::place_at(options.root), options.domain.value_or(domid_self));
  if (!ports.value) throw failure(errc::not_available, ports.problem);
  return std::move(*ports.value);
}

cli::exit_code list_as_lsevtchn(const list_options& options, std::ostream& out) {
  for (const auto& status : ports_of(options))
    out << xen::format_lsevtchn(status) << '\n';
  return cli::exit_code::ok;
}

cli::exit_code list(const list_options& options, std::ostream& out) {
  if (options.json + options.csv + options.lsevtchn > 1)
    throw failure(errc::invalid_argument, "--json, --csv and --lsevtchn", "choose one");
  if (options.lsevtchn) return list_as_lsevtchn(options, out);
  const auto inventory = options.domain ? channels::make_port_inventory(ports_of(options))
                                        : take_inventory(channels::place_at(options.root));
  const auto channels = selected(inventory, options);
  if (options.json) {
    print_json(out, inventory, channels);
    return cli::exit_code::ok;
  }
  if (options.csv)
    out << to_csv(inventory.cpus, channels);
  else
    print_table(out, channels);
  out.flush();
  print_sources(inventory.ladder);
  return cli::exit_code::ok;
}

}  // namespace

void add_list(cli::app& app) {
  static list_options options;
  auto& command = app.add_command("list", "list the event channels of this guest");
  command
      .describe(
          "Prints one line per event channel: its interrupt, its port if a source reports it, its "
          "purpose, the remote end (DOMAIN:PORT), the CPU that receives its events, the CPUs that "
          "may, and the number of events since it was bound.")
      .describe(
          "Linux does not expose an interrupt's port. A port marked with ~ was inferred from the "
          "order in which channels of the same name were bound. --json shows the source of each "
          "fact. The sources used, and the requirements of the others, are printed to stderr.")
      .example("list the channels of PV devices on CPU 0",
               "xenpv-evtchn list --kind device --cpu 0")
      .example("in domain 0, list the ports of guest 3", "xenpv-evtchn list --domain 3")
      .option("--kind KIND", options.kinds,
              "only these kinds: timer, ipi, spinlock, debug, pmu, xenbus, console, device, user, "
              "pirq, virq, unbound, other",
              as_kind)
      .option("--cpu N", options.cpu, "only channels delivered to CPU N",
              cli::whole_number<unsigned>(0, 8191))
      .option("--domain N", options.domain, "list the ports of another domain (domain 0 only)",
              cli::whole_number<domid>(0, 0x7FEF))
      .offers_json(options.json)
      .flag("--csv", options.csv, "print comma-separated values, with the counts of each CPU")
      .flag("--lsevtchn", options.lsevtchn, "print only the ports, in the format of lsevtchn(8)");
  add_root_option(command, options.root);
  command.action([](std::ostream& out) { return list(options, out); });
}

}  // namespace xenpv::evtchn_app
