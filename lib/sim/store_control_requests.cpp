#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "sim/store_path.hpp"
#include "sim/store_service_state.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::sim {

using answer = store_result<std::string>;

namespace {

struct control_command {
  std::string_view name;
  std::string_view parameters;          ///< as Xen 4.17 describes them
  std::string_view parameters_of_4_20;  ///< as Xen 4.20 describes them
};

constexpr std::string_view live_update_parameters =
    "[-c <cmdline>] [-F] [-t <timeout>] <file>\n    Default timeout is 60 seconds.";

constexpr std::array control_commands = {
    control_command{"check", "", ""},
    control_command{"log", "on|off", "[on|off|+<switch>|-<switch>]"},
    control_command{"live-update", live_update_parameters, live_update_parameters},
    control_command{"logfile", "<file>", "<file>"},
    control_command{"memreport", "[<file>]", "[<file>]"},
    control_command{"print", "<string>", "<string>"},
    control_command{"quota", "[set <name> <val>|<domid>]", "[set <name> <val>|<domid>|max [-r]]"},
    control_command{"quota-soft", "[set <name> <val>]", "[set <name> <val>]"},
    control_command{"help", "", ""}};

/// The daemon passes at most this many parameters to live-update.
constexpr std::size_t live_update_parameters_max = 4;

struct quota_entry {
  std::string_view name;
  std::string_view description;
  std::uint32_t store_quota::*limit;
  std::uint32_t store_usage::*use;
};

constexpr std::array quotas_of_4_17 = {
    quota_entry{"nodes", "Nodes per domain", &store_quota::nodes, &store_usage::nodes},
    quota_entry{"watches", "Watches per domain", &store_quota::watches, &store_usage::watches},
    quota_entry{"transactions", "Transactions per domain", &store_quota::transactions,
                &store_usage::transactions},
    quota_entry{"outstanding", "Outstanding requests per domain", &store_quota::outstanding,
                &store_usage::outstanding},
    quota_entry{"transaction-nodes", "Max. number of accessed nodes per transaction",
                &store_quota::transaction_nodes, &store_usage::transaction_nodes},
    quota_entry{"memory", "Total Xenstore memory per domain (error level)", &store_quota::memory,
                &store_usage::memory},
    quota_entry{"node-size", "Max. size of a node", &store_quota::node_size,
                &store_usage::node_size},
    quota_entry{"path-max", "Max. length of a node path", &store_quota::path_length,
                &store_usage::path_length},
    quota_entry{"permissions", "Max. number of permissions per node", &store_quota::permissions,
                &store_usage::permissions}};

constexpr std::array quotas_of_4_20 = {
    quota_entry{"nodes", "Nodes per domain", &store_quota::nodes, &store_usage::nodes},
    quota_entry{"watches", "Watches per domain", &store_quota::watches, &store_usage::watches},
    quota_entry{"outstanding", "Outstanding requests per domain", &store_quota::outstanding,
                &store_usage::outstanding},
    quota_entry{"memory", "Total Xenstore memory per domain (error level)", &store_quota::memory,
                &store_usage::memory},
    quota_entry{"transactions", "Active transactions per domain", &store_quota::transactions,
                &store_usage::transactions},
    quota_entry{"transaction-nodes", "Max. number of accessed nodes per transaction",
                &store_quota::transaction_nodes, &store_usage::transaction_nodes},
    quota_entry{"node-permissions", "Max. number of permissions per node",
                &store_quota::permissions, &store_usage::permissions},
    quota_entry{"path-max", "Max. length of a node path", &store_quota::path_length,
                &store_usage::path_length},
    quota_entry{"node-size", "Max. size of a node", &store_quota::node_size,
                &store_usage::node_size}};

constexpr std::array soft_quotas = {
    quota_entry{"memory", "Total Xenstore memory per domain (warning level)",
                &store_quota::memory_warning, &store_usage::memory}};

/// The values that Xen 4.17 reports for a domain, in its order.
constexpr std::array<std::string_view, 5> usage_of_4_17 = {"nodes", "watches", "transactions",
                                                           "outstanding", "memory"};

using entries = std::span<const quota_entry>;

entries hard_quotas(const store_control_options& controls) {
  return controls.like_xen_4_20 ? entries(quotas_of_4_20) : entries(quotas_of_4_17);
}

std::string format_quotas(entries quotas, const store_quota& quota) {
  std::string text = "Quota settings:\n";
  for (const auto& entry : quotas)
    text += fmt::format("{:<17}: {:>8} {}\n", entry.name, quota.*entry.limit, entry.description);
  return text + '\0';
}

/// `parameters`: the name and the value.
answer set_quota(std::span<const std::string_view> parameters, entries quotas, store_quota& quota) {
  if (parameters.size() != 2) return std::errc::invalid_argument;
  const auto value = lenient_number(parameters[1]);
  if (static_cast<std::int32_t>(value) < 1) return std::errc::invalid_argument;
  const auto entry = std::ranges::find(quotas, parameters[0], &quota_entry::name);
  if (entry == quotas.end()) return std::errc::invalid_argument;
  quota.*entry->limit = value;
  return reply_ok;
}

std::string format_help(const store_control_options& controls) {
  std::string text;
  for (const auto& command : control_commands)
    text += controls.like_xen_4_20
                ? fmt::format("{:<15} {}\n", command.name, command.parameters_of_4_20)
                : fmt::format("{}\t{}\n", command.name, command.parameters);
  return text + '\0';
}

/// A reply that reports a problem, although the request succeeds.
answer refusal(std::string_view reason) {
  return std::string(reason) + '\0';
}

std::string report_line(std::string_view name, std::size_t bytes, std::size_t blocks) {
  return fmt::format("    {:<30} contains {:>6} bytes in {:>3} blocks (ref 0)\n", name, bytes,
                     blocks);
}

std::uint32_t narrow(std::size_t value) {
  constexpr std::size_t largest = std::numeric_limits<std::uint32_t>::max();
  return static_cast<std::uint32_t>(std::min(value, largest));
}

bool has_path(wire::xs_type type) {
  using enum wire::xs_type;
  constexpr std::array types = {directory, directory_part, read,  get_perms, set_perms,
                                watch,     unwatch,        write, mkdir,     rm};
  return std::find(types.begin(), types.end(), type) != types.end();
}

/// Returns the path to which the request refers, if it refers to a node.
std::optional<std::string> path_of(const store_request& request, domid domain) {
  const auto end = request.payload.find('\0');
  if (!has_path(request.header.type) || end == std::string::npos) return std::nullopt;
  auto path = resolve_store_path(std::string_view(request.payload).substr(0, end), domain);
  if (!is_valid_store_path(path)) return std::nullopt;
  return path;
}

bool writes_node(wire::xs_type type) {
  return type == wire::xs_type::write || type == wire::xs_type::mkdir ||
         type == wire::xs_type::set_perms;
}

}  // namespace

answer store_service::state::control(store_connection& client, std::string_view payload) {
  const auto strings = terminated_strings(payload);
  if (strings.empty()) return std::errc::invalid_argument;
  const auto name = strings[0];
  const auto parameters = control_parameters(strings).subspan(1);
  if (name == "log") return control_log(parameters);
  if (name == "live-update")
    return control_live_update(
        client, parameters.first(std::min(parameters.size(), live_update_parameters_max)));
  if (name == "logfile") return control_logfile(parameters);
  if (name == "memreport") return control_memreport(parameters);
  if (name == "quota") return control_quota(parameters);
  if (name == "quota-soft") return control_quota_soft(parameters);
  if (name == "print") return control_print(parameters);
  if (!parameters.empty()) return std::errc::invalid_argument;
  if (name == "help") return format_help(controls);
  if (name != "check") return std::errc::invalid_argument;
  trace.write("Checking store ...\nChecking store complete.\n");
  return reply_ok;
}

answer store_service::state::control_print(control_parameters parameters) {
  if (parameters.size() != 1) return std::errc::invalid_argument;
  log().info("xenstored: control: {}", parameters[0]);
  return reply_ok;
}

answer store_service::state::control_log(control_parameters parameters) {
  if (controls.like_xen_4_20 && parameters.empty()) return trace.format_switches() + '\0';
  if (parameters.size() != 1) return std::errc::invalid_argument;
  if (parameters[0] == "on")
    trace.open();
  else if (parameters[0] == "off")
    trace.close();
  else if (!controls.like_xen_4_20 || !trace.set_switch(parameters[0]))
    return std::errc::invalid_argument;
  return reply_ok;
}

answer store_service::state::control_logfile(control_parameters parameters) {
  if (parameters.size() != 1) return std::errc::invalid_argument;
  trace.select(parameters[0]);
  return reply_ok;
}

answer store_service::state::control_memreport(control_parameters parameters) {
  if (parameters.size() > 1) return std::errc::invalid_argument;
  std::optional<std::string_view> path;
  if (!parameters.empty()) path = parameters[0];
  // The protocol cannot transmit EBADF, so the client sees EINVAL.
  if (!trace.write_report(path, format_memory())) return std::errc::bad_file_descriptor;
  return reply_ok;
}

answer store_service::state::control_quota(control_parameters parameters) {
  const auto quotas = hard_quotas(controls);
  if (parameters.empty()) return format_quotas(quotas, quota);
  if (parameters[0] == "set") return set_quota(parameters.subspan(1), quotas, quota);
  if (controls.like_xen_4_20 && parameters[0] == "max")
    return control_quota_max(parameters.subspan(1));
  if (parameters.size() != 1) return std::errc::invalid_argument;
  return format_usage(lenient_number(parameters[0]));
}

answer store_service::state::control_quota_soft(control_parameters parameters) {
  if (parameters.empty()) return format_quotas(soft_quotas, quota);
  if (parameters[0] != "set") return std::errc::invalid_argument;
  return set_quota(parameters.subspan(1), soft_quotas, quota);
}

answer store_service::state::control_quota_max(control_parameters parameters) {
  if (parameters.size() > 1) return std::errc::invalid_argument;
  if (!parameters.empty()) {
    if (parameters[0] != "-r") return std::errc::invalid_argument;
    peaks.clear();
    highest_peak = {};
  }
  std::string text = "Max. seen accounting values:\n";
  for (const auto& entry : quotas_of_4_20)
    text += fmt::format("{:<17}: {:>8}\n", entry.name, highest_peak.*entry.use);
  return text + '\0';
}

answer store_service::state::control_live_update(const store_connection& client,
                                                 control_parameters parameters) {
  if (parameters.empty()) return std::errc::invalid_argument;
  const auto operation = parameters[0];
  if (operation == "-s") return start_live_update(client, parameters.subspan(1));
  if (operation == "-a" && parameters.size() == 1) {
    if (live_update == nullptr) return refusal("No live-update session active.");
    live_update = nullptr;
    return reply_ok;
  }
  if (parameters.size() != 2) return std::errc::invalid_argument;
  if (operation == "-f") return select_live_update(client, parameters[1]);
  if (operation != "-c") return std::errc::invalid_argument;
  if (live_update != &client) return refusal("Not in live-update session.");
  return reply_ok;
}

answer store_service::state::select_live_update(const store_connection& client,
                                                std::string_view program) {
  struct stat facts {};
  if (::stat(std::string(program).c_str(), &facts) != 0) return refusal("File not accessible.");
  if ((facts.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0) return refusal("File not executable.");
  if (live_update != nullptr) return refusal("live-update session already active.");
  live_update = &client;
  return reply_ok;
}

answer store_service::state::start_live_update(const store_connection& client,
                                               control_parameters parameters) {
  bool force = false;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i] == "-F")
      force = true;
    else if (parameters[i] == "-t" && i + 1 < parameters.size())
      ++i;
    else
      return std::errc::invalid_argument;
  }
  if (live_update != &client) return refusal("Not in live-update session.");
  live_update = nullptr;
  // The daemon waits for open transactions until the timeout has passed.
  const bool is_busy = std::ranges::any_of(
      connections, [](const auto& entry) { return !entry.second->transactions.empty(); });
  if (is_busy && !force) return refusal("Overlapping transactions");
  return refusal("Error activating new binary.");
}

store_usage store_service::state::usage(domid domain, bool with_memory) const {
  store_usage out;
  out.nodes = narrow(tree.node_count(domain));
  out.watches = narrow(watch_count(domain));
  out.transactions = narrow(transaction_count(domain));
  if (!with_memory) return out;
  auto bytes = tree.memory_use(domain);
  for (const auto& [id, client] : connections)
    if (client->domain == domain)
      for (const auto& watch : client->watches)
        bytes += sizeof watch + watch.path.size() + watch.token.size();
  out.memory = narrow(bytes);
  return out;
}

answer store_service::state::format_usage(std::uint32_t number) {
  const domid domain{static_cast<std::uint16_t>(number)};
  if (number != raw(domain) || !introduced.contains(domain))
    return std::errc::no_such_file_or_directory;
  const auto now = usage(domain, true);
  auto text = fmt::format("Domain {}:\n", domain);
  if (controls.like_xen_4_20) {
    auto peak = now;
    peak.raise_to(peaks[domain]);
    for (const auto& entry : quotas_of_4_20)
      text +=
          fmt::format("{:<17}: {:>8} (max {:>8})\n", entry.name, now.*entry.use, peak.*entry.use);
    return text + '\0';
  }
  for (const auto name : usage_of_4_17) {
    const auto entry = std::ranges::find(quotas_of_4_17, name, &quota_entry::name);
    text += fmt::format("{:<16}: {:>8}\n", name, now.*entry->use);
  }
  return text + '\0';
}

std::string store_service::state::format_memory() const {
  std::string lines;
  std::size_t bytes = 0;
  std::size_t blocks = 0;
  const auto add = [&](const std::string& name, std::size_t size, std::size_t count) {
    lines += report_line(name, size, count);
    bytes += size;
    blocks += count;
  };
  for (const auto& [id, client] : connections)
    add("struct connection", sizeof(store_connection),
        1 + client->watches.size() + client->transactions.size());
  for (const auto domain : introduced)
    add(fmt::format("nodes of domain {}", domain), tree.memory_use(domain),
        tree.node_count(domain));
  return fmt::format("full talloc report on 'null_context' (total {} bytes in {} blocks)\n", bytes,
                     blocks) +
         lines;
}

void store_service::state::note_peaks(const store_connection& client,
                                      const store_request& request) {
  if (!controls.like_xen_4_20) return;
  auto now = usage(client.domain, false);
  const auto* const transaction = client.transaction(request.header.tx_id);
  if (transaction != nullptr) now.transaction_nodes = narrow(transaction->accessed_nodes());
  const auto path = path_of(request, client.domain);
  if (path && !exceeds_path_limit(quota, {.domain = client.domain}, *path)) {
    now.path_length = narrow(accounted_path_length(*path));
    const auto node = transaction != nullptr ? transaction->peek(*path) : tree.find(*path);
    if (node && writes_node(request.header.type)) {
      now.node_size = narrow(node->accounted_size());
      now.permissions = narrow(node->permissions.size());
    }
  }
  peaks[client.domain].raise_to(now);
  if (client.domain != domid_0) highest_peak.raise_to(now);
}

}  // namespace xenpv::sim
