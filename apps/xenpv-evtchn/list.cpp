#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "cli/json.hpp"
#include "cli/table.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "doctor/event_abi.hpp"
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

cli::word_parser<channels::channel_kind> kind_parser() {
  std::vector<std::pair<std::string, channels::channel_kind>> choices;
  for (const auto* const name : {"timer", "ipi", "spinlock", "debug", "pmu", "xenbus", "console",
                                 "device", "user", "pirq", "virq", "unbound", "other"})
    choices.emplace_back(name, channels::parse_channel_kind(name).value());
  return cli::one_of(std::move(choices));
}

/// Returns the CPUs that counted events of the channel.
std::vector<unsigned> counting_cpus(const channel& entry, const std::vector<unsigned>& cpus) {
  std::vector<unsigned> out;
  for (std::size_t column = 0; column < entry.counts.size() && column < cpus.size(); ++column)
    if (entry.counts[column] > 0) out.push_back(cpus[column]);
  return out;
}

/// The CPUs that receive a channel's events.
struct receiving_cpus {
  std::vector<unsigned> cpus = {};
  bool is_inferred = false;  ///< from the counts since boot: the channel may have moved
};

receiving_cpus receivers_of(const channel& entry, const std::vector<unsigned>& cpus) {
  if (entry.effective && !entry.effective->value.empty()) return {entry.effective->value};
  if (entry.of_cpu) return {{*entry.of_cpu}};
  if (entry.vcpu) return {{entry.vcpu->value}};
  if (entry.is_per_cpu) return {counting_cpus(entry, cpus)};
  if (entry.total() > 0) return {counting_cpus(entry, cpus), true};
  if (entry.allowed) return {entry.allowed->value, true};
  return {};
}

std::vector<const channel*> selected(const channels::inventory& inventory,
                                     const list_options& options) {
  std::vector<const channel*> out;
  for (const auto& entry : inventory.channels) {
    const bool fits = options.kinds.empty() || std::ranges::count(options.kinds, entry.kind) > 0;
    const bool is_on = !options.cpu || std::ranges::count(receivers_of(entry, inventory.cpus).cpus,
                                                          *options.cpu) > 0;
    if (fits && is_on) out.push_back(&entry);
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

/// Formats the receiving CPUs: "0", or "~0-1" if they were inferred.
std::string cpu_cell(const channel& entry, const std::vector<unsigned>& cpus) {
  const auto receivers = receivers_of(entry, cpus);
  if (receivers.cpus.empty()) return "";
  return fmt::format("{}{}", receivers.is_inferred ? "~" : "",
                     async::format_cpu_list(receivers.cpus));
}

void print_table(std::ostream& out, const std::vector<const channel*>& channels,
                 const std::vector<unsigned>& cpus) {
  using cli::column;
  using cli::right_column;
  cli::table table({right_column("IRQ"), right_column("PORT"), column{"KIND"}, column{"NAME"},
                    column{"PEER"}, right_column("CPU"), column{"AFFINITY"}, right_column("EVENTS"),
                    column{"BELONGS-TO"}});
  for (const auto* entry : channels)
    table.add_row(cli::cells_of(
        entry->irq, port_cell(*entry), to_string(entry->kind), entry->name, peer_cell(*entry),
        cpu_cell(*entry, cpus), entry->allowed ? async::format_cpu_list(entry->allowed->value) : "",
        entry->irq ? fmt::format("{}", entry->total()) : "", device_cell(*entry)));
  table.print(out);
}

void print_json(std::ostream& out, const channels::inventory& inventory,
                std::optional<channels::event_abi> abi,
                const std::vector<const channel*>& channels) {
  auto document = cli::json_document("xenpv-evtchn.list", 1);
  document["guest"] = guest_json(inventory, abi);
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
  doctor::guest_snapshot guest;
  if (options.domain)
    guest.channels = channels::make_port_inventory(ports_of(options));
  else
    guest = take_guest(channels::place_at(options.root));
  const auto& inventory = guest.channels;
  const auto channels = selected(inventory, options);
  if (options.json) {
    // Another domain's ports do not show its ABI.
    const auto abi = options.domain ? std::nullopt : doctor::find_event_abi(guest).abi;
    print_json(out, inventory, abi, channels);
    return cli::exit_code::ok;
  }
  if (options.csv)
    out << to_csv(inventory.cpus, channels);
  else
    print_table(out, channels, inventory.cpus);
  out.flush();
  print_sources(inventory.ladder);
  // The list of sources contains the reason if the whole file could not be read.
  if (guest.from.interrupts.value) print_problems(inventory.problems);
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
          "order in which channels of the same name were bound. CPUs marked with ~ were inferred "
          "from the counts, because the kernel does not report the effective affinity. --json "
          "shows the source of each fact. The sources used, the requirements of the others, and "
          "lines of /proc/interrupts that cannot be parsed are printed to stderr.")
      .example("list the channels of PV devices on CPU 0",
               "xenpv-evtchn list --kind device --cpu 0")
      .example("in domain 0, list the ports of guest 3", "xenpv-evtchn list --domain 3")
      .option("--kind KIND", options.kinds,
              "only these kinds: timer, ipi, spinlock, debug, pmu, xenbus, console, device, user, "
              "pirq, virq, unbound, other",
              kind_parser())
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
