#include <fmt/format.h>

#include <algorithm>

#include "sim/store_path.hpp"
#include "sim/store_service_state.hpp"

namespace xenpv::sim {
using answer = store_result<std::string>;

answer store_service::state::read(store_connection& client, std::string_view payload,
                                  store_transaction* transaction) {
  const auto path = sole_string(payload);
  if (!path) return std::errc::invalid_argument;
  const auto node =
      view(client.domain, transaction).get(resolve_store_path(*path, client.domain), right_to_read);
  if (!node) return node.error();
  return (*node)->value;
}

answer store_service::state::directory(store_connection& client, std::string_view payload,
                                       store_transaction* transaction) {
  const auto path = sole_string(payload);
  if (!path) return std::errc::invalid_argument;
  const auto node =
      view(client.domain, transaction).get(resolve_store_path(*path, client.domain), right_to_read);
  if (!node) return node.error();
  return (*node)->children;
}

answer store_service::state::directory_part(store_connection& client, std::string_view payload,
                                            store_transaction* transaction) {
  const auto strings = terminated_strings(payload);
  if (strings.size() != 2) return std::errc::invalid_argument;
  const auto node = view(client.domain, transaction)
                        .get(resolve_store_path(strings[0], client.domain), right_to_read);
  if (!node) return node.error();
  const std::string_view children = (*node)->children;
  const std::size_t offset = lenient_number(strings[1]);
  auto part = fmt::format("{}", (*node)->generation) + '\0';
  if (offset >= children.size()) return part + '\0';
  // Return only whole names; an empty name after the last one marks the end of the list.
  const auto room = wire::xs_payload_max - part.size() - 1;
  std::size_t length = 0;
  while (offset + length < children.size()) {
    const auto name = children.find('\0', offset + length) - (offset + length);
    if (length + name >= room) break;
    length += name + 1;
  }
  part.append(children.substr(offset, length));
  if (offset + length == children.size()) part.push_back('\0');
  return part;
}

answer store_service::state::get_perms(store_connection& client, std::string_view payload,
                                       store_transaction* transaction) {
  const auto path = sole_string(payload);
  if (!path) return std::errc::invalid_argument;
  const auto node =
      view(client.domain, transaction).get(resolve_store_path(*path, client.domain), right_to_read);
  if (!node) return node.error();
  std::string list;
  for (const auto& permission : (*node)->permissions)
    list += format_permission(permission) + '\0';
  return list;
}

answer store_service::state::write(store_connection& client, std::string_view payload,
                                   store_transaction* transaction) {
  const auto end = payload.find('\0');
  if (end == std::string_view::npos) return std::errc::invalid_argument;
  const auto path = resolve_store_path(payload.substr(0, end), client.domain);
  const auto done = view(client.domain, transaction).write(path, payload.substr(end + 1));
  return done ? answer(reply_ok) : answer(done.error());
}

answer store_service::state::mkdir(store_connection& client, std::string_view payload,
                                   store_transaction* transaction) {
  const auto path = sole_string(payload);
  if (!path) return std::errc::invalid_argument;
  const auto done =
      view(client.domain, transaction).make_directory(resolve_store_path(*path, client.domain));
  return done ? answer(reply_ok) : answer(done.error());
}

answer store_service::state::rm(store_connection& client, std::string_view payload,
                                store_transaction* transaction) {
  const auto path = sole_string(payload);
  if (!path) return std::errc::invalid_argument;
  const auto done =
      view(client.domain, transaction).remove(resolve_store_path(*path, client.domain));
  return done ? answer(reply_ok) : answer(done.error());
}

answer store_service::state::set_perms(store_connection& client, std::string_view payload,
                                       store_transaction* transaction) {
  const auto strings = terminated_strings(payload);
  if (strings.size() < 2) return std::errc::invalid_argument;
  const auto requester = caller(client.domain);
  if (!requester.is_privileged() && strings.size() - 1 > quota.permissions)
    return std::errc::no_space_on_device;
  std::vector<store_permission> list;
  for (std::size_t i = 1; i < strings.size(); ++i) {
    const auto permission = parse_permission(strings[i]);
    if (!permission) return std::errc::invalid_argument;
    list.push_back(*permission);
  }
  const auto path = resolve_store_path(strings[0], client.domain);
  const auto done = view(client.domain, transaction).set_permissions(path, list);
  return done ? answer(reply_ok) : answer(done.error());
}

answer store_service::state::watch(store_connection& client, std::string_view payload) {
  const auto strings = terminated_strings(payload);
  if (strings.size() != 2) return std::errc::invalid_argument;
  const store_watch fresh(strings[0], strings[1], client.domain);
  // Any special event may be watched: like the daemon, check only the length of its name.
  if (!is_special_store_path(fresh.path) && !is_valid_store_path(fresh.path))
    return std::errc::invalid_argument;
  if (exceeds_path_limit(quota, {.domain = client.domain}, fresh.path))
    return std::errc::invalid_argument;
  const bool known = std::any_of(
      client.watches.begin(), client.watches.end(),
      [&](const auto& old) { return old.path == fresh.path && old.token == fresh.token; });
  if (known) return std::errc::file_exists;
  if (client.domain != domid_0 && watch_count(client.domain) > quota.watches)
    return std::errc::argument_list_too_long;
  client.watches.push_back(fresh);
  return reply_ok;
}

answer store_service::state::unwatch(store_connection& client, std::string_view payload) {
  const auto strings = terminated_strings(payload);
  if (strings.size() != 2) return std::errc::invalid_argument;
  const auto path = resolve_store_path(strings[0], client.domain);
  const auto entry = std::find_if(
      client.watches.begin(), client.watches.end(),
      [&](const auto& watch) { return watch.path == path && watch.token == strings[1]; });
  if (entry == client.watches.end()) return std::errc::no_such_file_or_directory;
  client.watches.erase(entry);
  return reply_ok;
}

answer store_service::state::transaction_start(store_connection& client,
                                               store_transaction* transaction) {
  if (transaction) return std::errc::device_or_resource_busy;
  const bool limited = client.domain != domid_0;
  if (limited && transaction_count(client.domain) > quota.transactions)
    return std::errc::no_space_on_device;
  const auto node_limit =
      limited ? std::optional<std::size_t>(quota.transaction_nodes) : std::nullopt;
  return fmt::format("{}", client.start_transaction(tree, node_limit)) + '\0';
}

answer store_service::state::transaction_end(store_connection& client,
                                             const store_request& request) {
  const auto decision = sole_string(request.payload);
  if (decision != "T" && decision != "F") return std::errc::invalid_argument;
  auto ended = client.transactions.extract(request.header.tx_id);
  if (ended.empty()) return std::errc::no_such_file_or_directory;
  if (decision == "F") return reply_ok;
  const bool limited = client.domain != domid_0;
  if (limited && faults.eagain_every != 0 && ++commits_since_faults % faults.eagain_every == 0)
    return std::errc::resource_unavailable_try_again;
  if (ended.mapped()->is_lost()) return std::errc::resource_unavailable_try_again;
  const auto node_quota = limited ? std::optional<std::size_t>(quota.nodes) : std::nullopt;
  const auto done = ended.mapped()->commit(node_quota, on_change);
  return done ? answer(reply_ok) : answer(done.error());
}

}  // namespace xenpv::sim
