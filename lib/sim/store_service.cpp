#include "sim/store_service.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sim/store_path.hpp"
#include "sim/store_service_state.hpp"
#include "wire/xs.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim {
namespace {

bool is_for_privileged(wire::xs_type type) {
  using enum wire::xs_type;
  return type == control || type == introduce || type == release || type == resume ||
         type == set_target || type == is_domain_introduced;
}

void throw_on_error(const store_result<void>& done, std::string_view verb,
                    const std::string& path) {
  if (!done)
    throw failure(std::make_error_code(done.error()),
                  fmt::format("{} {} in the simulated xenstore", verb, path));
}

}  // namespace

store_connection* store_service::state::connection(connection_id id) const {
  const auto entry = connections.find(id);
  return entry == connections.end() ? nullptr : entry->second.get();
}

store_caller store_service::state::caller(domid domain) const {
  const auto target = targets.find(domain);
  return {.domain = domain,
          .target = target == targets.end() ? std::nullopt : std::optional(target->second)};
}

store_view store_service::state::view(domid domain, store_transaction* transaction) {
  return {tree, quota, caller(domain), transaction, on_change};
}

store_view store_service::state::host_view() {
  return {tree, host_quota, caller(domid_0), nullptr, on_change};
}

std::size_t store_service::state::watch_count(domid domain) const {
  std::size_t count = 0;
  for (const auto& [id, client] : connections)
    if (client->domain == domain) count += client->watches.size();
  return count;
}

std::size_t store_service::state::transaction_count(domid domain) const {
  std::size_t count = 0;
  for (const auto& [id, client] : connections)
    if (client->domain == domain) count += client->transactions.size();
  return count;
}

void store_service::state::mark_ready(connection_id id) {
  if (std::find(ready.begin(), ready.end(), id) == ready.end()) ready.push_back(id);
}

void store_service::state::fire(const store_change& change) {
  for (const auto& [id, client] : connections) {
    std::optional<bool> permitted;
    for (const auto& watch : client->watches) {
      if (!watch.matches(change)) continue;
      if (!permitted) permitted = may_observe(change, caller(client->domain), tree);
      if (!*permitted) break;
      send_event(id, *client, watch.reported(change.path), watch.token);
      mark_ready(id);
    }
  }
}

void store_service::state::send_event(connection_id id, store_connection& client,
                                      std::string_view path, std::string_view token) {
  if (!client.send_event(path, token) || !trace.is_open()) return;
  trace.record(store_direction::out, raw(id), client.domain, wire::xs_type::watch_event,
               fmt::format("{} {} ", path, token));
}

void store_service::state::fire_special(std::string_view event) {
  fire({.path = event, .exact = true});
}

void store_service::state::introduce(domid domain) {
  if (introduced.insert(domain).second) fire_special("@introduceDomain");
}

void store_service::state::release(domid domain) {
  if (domain == domid_0 || introduced.erase(domain) == 0) return;
  host_view().remove_owned_by(domain);
  tree.forget(domain);
  std::erase_if(targets, [domain](const auto& pair) {
    return pair.first == domain || pair.second == domain;
  });
  peaks.erase(domain);
  fire_special("@releaseDomain");
}

void store_service::state::serve(connection_id id, store_connection& client,
                                 const store_request& request) {
  const auto reply = [&](wire::xs_type type, std::string_view payload) {
    client.reply(request.header, type, payload);
    trace.record(store_direction::out, raw(id), client.domain, type, payload);
  };
  trace.record(store_direction::in, raw(id), client.domain, request.header.type, request.payload);
  const auto done = execute(client, request);
  note_peaks(client, request);
  if (!done) {
    reply(wire::xs_type::error,
          std::string(wire::xs_error_name(static_cast<int>(done.error()))) + '\0');
  } else if (done->size() > wire::xs_payload_max) {
    reply(wire::xs_type::error, std::string_view("E2BIG\0", 6));
  } else {
    reply(request.header.type, *done);
    // A new watch fires immediately, even if its path does not exist or is not readable.
    if (request.header.type == wire::xs_type::watch) {
      const auto& watch = client.watches.back();
      send_event(id, client, watch.reported(watch.path), watch.token);
    }
  }
  mark_ready(id);
}

bool store_service::state::is_sabotaged(store_connection& client, const store_request& request) {
  if (client.domain == domid_0) return false;
  ++guest_requests;
  if (faults.fail_every == 0 || ++requests_since_faults % faults.fail_every != 0) return false;
  if (request.header.type == wire::xs_type::transaction_end)
    client.transactions.erase(request.header.tx_id);
  return true;
}

store_service::state::answer store_service::state::execute(store_connection& client,
                                                           const store_request& request) {
  const auto type = request.header.type;
  if (is_sabotaged(client, request)) return static_cast<std::errc>(faults.fail_errno);
  if (wire::to_string(type) == "unknown" || type == wire::xs_type::watch_event ||
      type == wire::xs_type::error)
    return std::errc::function_not_supported;
  if (is_for_privileged(type) && client.domain != domid_0) return std::errc::permission_denied;
  // Watch requests are not part of a transaction, so accept any transaction ID.
  if (type == wire::xs_type::watch || type == wire::xs_type::unwatch || request.header.tx_id == 0)
    return dispatch(client, request, nullptr);
  auto* const transaction = client.transaction(request.header.tx_id);
  if (!transaction || (transaction->is_lost() && type != wire::xs_type::transaction_end))
    return std::errc::no_such_file_or_directory;
  return dispatch(client, request, transaction);
}

store_service::state::answer store_service::state::dispatch(store_connection& client,
                                                            const store_request& request,
                                                            store_transaction* transaction) {
  const std::string_view payload = request.payload;
  switch (request.header.type) {
    case wire::xs_type::control:
      return control(client, payload);
    case wire::xs_type::directory:
      return directory(client, payload, transaction);
    case wire::xs_type::read:
      return read(client, payload, transaction);
    case wire::xs_type::get_perms:
      return get_perms(client, payload, transaction);
    case wire::xs_type::watch:
      return watch(client, payload);
    case wire::xs_type::unwatch:
      return unwatch(client, payload);
    case wire::xs_type::transaction_start:
      return transaction_start(client, transaction);
    case wire::xs_type::transaction_end:
      return transaction_end(client, request);
    case wire::xs_type::introduce:
      return introduce(payload);
    case wire::xs_type::release:
      return release(payload);
    case wire::xs_type::get_domain_path:
      return get_domain_path(payload);
    case wire::xs_type::write:
      return write(client, payload, transaction);
    case wire::xs_type::mkdir:
      return mkdir(client, payload, transaction);
    case wire::xs_type::rm:
      return rm(client, payload, transaction);
    case wire::xs_type::set_perms:
      return set_perms(client, payload, transaction);
    case wire::xs_type::is_domain_introduced:
      return is_domain_introduced(payload);
    case wire::xs_type::resume:
      return resume(payload);
    case wire::xs_type::set_target:
      return set_target(payload);
    case wire::xs_type::reset_watches:
      client.reset();
      return std::string("OK\0", 3);
    case wire::xs_type::directory_part:
      return directory_part(client, payload, transaction);
    case wire::xs_type::watch_event:
    case wire::xs_type::error:
      break;
  }
  return std::errc::function_not_supported;
}

store_service::store_service(store_quota quota, store_control_options controls)
    : state_(std::make_unique<state>(quota, controls)) {}
store_service::~store_service() = default;

store_service::connection_id store_service::attach(domid domain) {
  const connection_id id{++state_->last_connection};
  state_->connections.emplace(id, std::make_unique<store_connection>(domain));
  return id;
}

void store_service::detach(connection_id id) {
  if (state_->live_update == state_->connection(id)) state_->live_update = nullptr;
  state_->connections.erase(id);
  std::erase(state_->ready, id);
}

bool store_service::receive(connection_id id, std::span<const std::byte> bytes) {
  auto* const client = state_->connection(id);
  if (!client) return false;
  client->reader.append(bytes);
  while (const auto request = client->reader.next())
    state_->serve(id, *client, *request);
  if (!client->reader.is_broken()) return true;
  client->reset();
  return false;
}

std::vector<std::byte> store_service::take_output(connection_id id) {
  auto* const client = state_->connection(id);
  if (!client) return {};
  std::erase(state_->ready, id);
  return client->take_output();
}

std::vector<store_service::connection_id> store_service::take_ready() {
  return std::exchange(state_->ready, {});
}

void store_service::introduce(domid domain) {
  state_->introduce(domain);
}
void store_service::release(domid domain) {
  state_->release(domain);
}
bool store_service::is_introduced(domid domain) const {
  return state_->introduced.contains(domain);
}

void store_service::resume(domid old_domain, domid new_domain) {
  for (const auto& [id, client] : state_->connections) {
    if (client->domain != old_domain) continue;
    client->domain = new_domain;
    for (const auto& [number, transaction] : client->transactions)
      transaction->lose();
    for (auto& watch : client->watches) {
      watch.move_to(new_domain);
      state_->send_event(id, *client, watch.given, watch.token);
    }
    if (client->has_output()) state_->mark_ready(id);
  }
}

void store_service::write(const std::string& path, std::string_view value) {
  throw_on_error(state_->host_view().write(resolve_store_path(path, domid_0), value), "write",
                 path);
}

std::optional<std::string> store_service::read(const std::string& path) const {
  const auto node = state_->tree.find(resolve_store_path(path, domid_0));
  return node ? std::optional(node->value) : std::nullopt;
}

std::vector<std::string> store_service::list(const std::string& path) const {
  const auto node = state_->tree.find(resolve_store_path(path, domid_0));
  return node ? node->child_names() : std::vector<std::string>{};
}

void store_service::remove(const std::string& path) {
  const auto done = state_->host_view().remove(resolve_store_path(path, domid_0));
  if (!done && done.error() == std::errc::no_such_file_or_directory) return;
  throw_on_error(done, "remove", path);
}

void store_service::set_permissions(const std::string& path,
                                    std::span<const store_permission> list) {
  const auto resolved = resolve_store_path(path, domid_0);
  const auto done = list.empty()
                        ? store_result<void>(std::errc::invalid_argument)
                        : state_->host_view().set_permissions(resolved, {list.begin(), list.end()});
  throw_on_error(done, "set permissions of", path);
}

void store_service::set_faults(const store_faults& faults) {
  state_->faults = faults;
  state_->requests_since_faults = 0;
  state_->commits_since_faults = 0;
}

std::size_t store_service::connection_count() const {
  return state_->connections.size();
}
std::size_t store_service::watch_count(domid domain) const {
  return state_->watch_count(domain);
}
std::size_t store_service::node_count(domid domain) const {
  return state_->tree.node_count(domain);
}
std::uint64_t store_service::guest_request_count() const {
  return state_->guest_requests;
}

}  // namespace xenpv::sim
