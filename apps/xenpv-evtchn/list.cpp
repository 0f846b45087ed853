#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "commands.hpp"
#include "place.hpp"
#include "report.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/cli/json.hpp"
#include "xenpv/cli/table.hpp"
#include "xenpv/cli/value.hpp"

namespace xenpv::evtchn_app {
namespace {

using diag::channel;

struct list_words {
  std::string root;
  std::vector<diag::channel_kind> kinds;
  std::optional<unsigned> cpu;
  std::optional<domid> domain;
  bool json = false;
  bool csv = false;
  bool lsevtchn = false;
};

result<diag::channel_kind> as_kind(std::string_view text) {
  if (const auto kind = diag::parse_channel_kind(text)) return *kind;
  return make_error(errc::invalid_argument, fmt::format("kind '{}'", text),
                    "expected timer, ipi, spinlock, debug, pmu, xenbus, console, device, user, "
                    "pirq, virq, unbound or other");
}

bool is_on(const channel& each, unsigned cpu) {
  if (each.of_cpu) return each.of_cpu == cpu;
  if (each.effective) {
    const auto& cpus = each.effective->value;
    return std::find(cpus.begin(), cpus.end(), cpu) != cpus.end();
  }
  return each.vcpu && each.vcpu->value == cpu;
}

std::vector<const channel*> selected(const diag::inventory& all, const list_words& words) {
  std::vector<const channel*> out;
  for (const auto& each : all.channels) {
    const bool fits = words.kinds.empty() || std::find(words.kinds.begin(), words.kinds.end(),
                                                       each.kind) != words.kinds.end();
    if (fits && (!words.cpu || is_on(each, *words.cpu))) out.push_back(&each);
  }
  return out;
}

/// "15", or "~15" for a port that was concluded from the order of binding.
std::string port_cell(const channel& each) {
  if (!each.number) return "";
  return fmt::format("{}{}", each.number->from == diag::evidence::order ? "~" : "",
                     each.number->value);
}

/// What is at the other end: "1:15" is port 15 of domain 1, "1:?" one of domain 1's ports.
std::string peer_cell(const channel& each) {
  if (each.virq) return "virq " + xen::virq_name(each.virq->value);
  if (each.pirq) return fmt::format("pirq {}", each.pirq->value);
  if (!each.remote_domain) return "";
  return fmt::format("{}:{}", each.remote_domain->value,
                     each.remote_port ? fmt::format("{}", each.remote_port->value) : "?");
}

std::string device_cell(const channel& each) {
  if (!each.device) return each.process ? fmt::format("process {}", each.process->value) : "";
  auto out = each.device->value;
  if (each.queue) out += fmt::format(" queue {}", each.queue->value);
  if (each.role) out += " " + each.role->value;
  return out;
}

std::string cpu_cell(const channel& each) {
  if (each.effective && !each.effective->value.empty())
    return async::format_cpu_list(each.effective->value);
  if (each.of_cpu) return fmt::format("{}", *each.of_cpu);
  return each.vcpu ? fmt::format("{}", each.vcpu->value) : "";
}

void print_table(std::ostream& out, const std::vector<const channel*>& channels) {
  cli::table table({{"IRQ", cli::align::right},
                    {"PORT", cli::align::right},
                    {"KIND"},
                    {"NAME"},
                    {"PEER"},
                    {"CPU", cli::align::right},
                    {"AFFINITY"},
                    {"EVENTS", cli::align::right},
                    {"BELONGS-TO"}});
  for (const auto* each : channels)
    table.add_row({each->irq ? fmt::format("{}", *each->irq) : "", port_cell(*each),
                   std::string(to_string(each->kind)), each->name, peer_cell(*each),
                   cpu_cell(*each),
                   each->allowed ? async::format_cpu_list(each->allowed->value) : "",
                   each->irq ? fmt::format("{}", each->total()) : "", device_cell(*each)});
  table.print(out);
}

void print_json(std::ostream& out, const diag::inventory& all,
                const std::vector<const channel*>& channels) {
  auto document = cli::json_document("xenpv-evtchn.list", 1);
  document["guest"] = guest_json(all);
  document["sources"] = to_json(all.ladder);
  document["cpus"] = all.cpus;
  document["events_per_cpu"] = all.events_per_cpu();
  document["channels"] = cli::json::array();
  for (const auto* each : channels)
    document["channels"].push_back(to_json(*each));
  document["problems"] = all.problems;
  cli::print_json(out, document);
}

std::vector<xen::port_status> ports_of(const list_words& words) {
  auto ports = diag::read_ports(diag::place_at(words.root), words.domain.value_or(domid_self));
  if (!ports.value) throw failure(errc::not_available, ports.problem);
  return std::move(*ports.value);
}

cli::exit_code list_as_lsevtchn(const list_words& words, std::ostream& out) {
  for (const auto& each : ports_of(words))
    out << xen::format_lsevtchn(each) << '\n';
  return cli::exit_code::ok;
}

cli::exit_code list(const list_words& words, std::ostream& out) {
  if (words.json + words.csv + words.lsevtchn > 1)
    throw failure(errc::invalid_argument, "--json, --csv and --lsevtchn", "one of them, please");
  if (words.lsevtchn) return list_as_lsevtchn(words, out);
  const auto all = words.domain ? diag::make_port_inventory(ports_of(words))
                                : take_inventory(diag::place_at(words.root));
  const auto channels = selected(all, words);
  if (words.json) {
    print_json(out, all, channels);
    return cli::exit_code::ok;
  }
  if (words.csv)
    out << to_csv(all.cpus, channels);
  else
    print_table(out, channels);
  out.flush();
  tell_sources(all.ladder);
  return cli::exit_code::ok;
}

}  // namespace

void add_list(cli::app& app) {
  static list_words words;
  auto& command = app.add_command("list", "show every event channel of this guest");
  command
      .describe(
          "One line for each event channel: its interrupt, its port where a source tells, what it "
          "is for, the other end (DOMAIN:PORT), the CPU that gets it, the CPUs it may go to and "
          "how many events came since it was bound.")
      .describe(
          "Linux tells nobody which port an interrupt has. A port with ~ was concluded: the "
          "channels of one name were taken in the order they were bound. --json says the source of "
          "each fact. Which sources there were, and what the others would need, goes to standard "
          "error.")
      .example("channels of PV devices on CPU 0", "xenpv-evtchn list --kind device --cpu 0")
      .example("in domain 0, the ports of guest 3", "xenpv-evtchn list --domain 3")
      .option("--kind KIND", words.kinds,
              "only these: timer, ipi, spinlock, debug, pmu, xenbus, console, device, user, pirq, "
              "virq, unbound, other",
              as_kind)
      .option("--cpu N", words.cpu, "only those that CPU N gets",
              cli::whole_number<unsigned>(0, 8191))
      .option("--domain N", words.domain, "the ports of another domain; only domain 0 may ask",
              cli::whole_number<domid>(0, 0x7FEF))
      .offers_json(words.json)
      .flag("--csv", words.csv, "as comma-separated values, with the counts of each CPU")
      .flag("--lsevtchn", words.lsevtchn, "the ports alone, in the format of lsevtchn(8)");
  offer_root(command, words.root);
  command.action([](std::ostream& out) { return list(words, out); });
}

}  // namespace xenpv::evtchn_app
