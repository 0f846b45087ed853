#include "nbd/admission.hpp"

#include <algorithm>
#include <utility>

namespace xenpv::nbd {
namespace {

constexpr std::size_t usual_connections = 4;  ///< of nbdcopy

admission_limits complete(admission_limits limits) {
  if (limits.handshakes_per_address == 0)
    limits.handshakes_per_address = std::max<std::size_t>(8, limits.handshakes / 4);
  if (limits.seats_per_address == 0)
    limits.seats_per_address = std::max(usual_connections, limits.seats * 3 / 4);
  return limits;
}

}  // namespace

admission::admission(const admission_limits& limits) : limits_(complete(limits)) {}

std::optional<admission::client_id> admission::arrive(client_id client, std::size_t listener,
                                                      std::string source) {
  auto& added = clients_[client];
  added.listener = listener;
  added.source = std::move(source);
  ++counts_[static_cast<std::size_t>(stage::handshake)];
  if (const auto surplus = surplus_of(added.source)) return surplus;
  if (handshakes() <= limits_.handshakes) return std::nullopt;
  return make_room(client);
}

void admission::authenticated(client_id client) {
  if (const auto found = clients_.find(client); found != clients_.end())
    found->second.is_authenticated = true;
}

std::optional<admission::client_id> admission::make_room(client_id except) {
  // Selects the victim in one pass: prefers unauthenticated handshakes, then handshakes of the
  // listener with the most handshakes, then the oldest handshake.
  std::map<std::size_t, std::size_t> load;
  for (const auto& [id, client] : clients_)
    if (client.now == stage::handshake) ++load[client.listener];
  auto best = clients_.end();
  const auto rank = [&](const entry& client) {
    return std::pair(!client.is_authenticated, load[client.listener]);
  };
  for (auto current = clients_.begin(); current != clients_.end(); ++current) {
    if (current->second.now != stage::handshake || current->first == except) continue;
    if (best == clients_.end() || rank(current->second) > rank(best->second)) best = current;
  }
  if (best == clients_.end()) return std::nullopt;
  move(best->second, stage::ending);
  return best->first;
}

admission::answer admission::request_seat(client_id client) {
  const auto found = clients_.find(client);
  // The client was evicted while its last option was in transit.
  if (found == clients_.end() || found->second.now != stage::handshake) return {verdict::evicted};
  auto& asking = found->second;
  if (!asking.source.empty() && seats_of(asking.source) >= limits_.seats_per_address) {
    move(asking, stage::ending);
    return {verdict::address_is_full};
  }
  if (seated() < limits_.seats) {
    move(asking, stage::seated);
    return {verdict::seated};
  }
  move(asking, stage::waiting);
  if (waiting() <= limits_.waiting) return {verdict::waiting};
  const auto displaced = choose_displaced(client);
  move(clients_.at(displaced), stage::ending);
  if (displaced == client) return {verdict::too_many_waiting};
  return {verdict::waiting, displaced};
}

std::vector<admission::client_id> admission::leave(client_id client) {
  const auto found = clients_.find(client);
  if (found == clients_.end()) return {};
  --counts_[static_cast<std::size_t>(found->second.now)];
  clients_.erase(found);
  return grant_seats();
}

void admission::move(entry& client, stage to) {
  --counts_[static_cast<std::size_t>(client.now)];
  ++counts_[static_cast<std::size_t>(to)];
  client.now = to;
}

std::size_t admission::count_of(std::size_t listener, stage at) const noexcept {
  return static_cast<std::size_t>(std::ranges::count_if(clients_, [&](const auto& pair) {
    return pair.second.listener == listener && pair.second.now == at;
  }));
}

std::size_t admission::seats_of(const std::string& source) const noexcept {
  return static_cast<std::size_t>(std::ranges::count_if(clients_, [&](const auto& pair) {
    const auto& [id, client] = pair;
    return client.source == source && (client.now == stage::seated || client.now == stage::waiting);
  }));
}

std::optional<admission::client_id> admission::surplus_of(const std::string& source) {
  if (source.empty()) return std::nullopt;
  std::size_t count = 0;
  auto oldest = clients_.end();
  for (auto current = clients_.begin(); current != clients_.end(); ++current) {
    const auto& client = current->second;
    if (client.now != stage::handshake || client.source != source) continue;
    if (++count == 1 || (oldest->second.is_authenticated && !client.is_authenticated))
      oldest = current;
  }
  if (count <= limits_.handshakes_per_address) return std::nullopt;
  // The newcomer is the last one, and not authenticated: with only authenticated clients before
  // it, the oldest of those leaves.
  if (std::next(oldest) == clients_.end())
    oldest = std::ranges::find_if(clients_, [&](const auto& pair) {
      return pair.second.now == stage::handshake && pair.second.source == source;
    });
  move(oldest->second, stage::ending);
  return oldest->first;
}

admission::client_id admission::choose_displaced(client_id newcomer) const {
  auto displaced = newcomer;
  auto most = count_of(clients_.at(newcomer).listener, stage::waiting);
  for (const auto& [id, client] : clients_) {
    if (client.now != stage::waiting || id == newcomer) continue;
    const auto waiting = count_of(client.listener, stage::waiting);
    // The last one found is the newest of its listener.
    if (waiting > most || (waiting == most && displaced != newcomer &&
                           clients_.at(displaced).listener == client.listener)) {
      displaced = id;
      most = waiting;
    }
  }
  return displaced;
}

std::vector<admission::client_id> admission::grant_seats() {
  std::vector<client_id> out;
  while (seated() < limits_.seats && waiting() > 0) {
    auto best = clients_.end();
    std::size_t fewest = 0;
    for (auto current = clients_.begin(); current != clients_.end(); ++current) {
      if (current->second.now != stage::waiting) continue;
      const auto seats = count_of(current->second.listener, stage::seated);
      if (best == clients_.end() || seats < fewest) {
        best = current;
        fewest = seats;
      }
    }
    move(best->second, stage::seated);
    out.push_back(best->first);
  }
  return out;
}

}  // namespace xenpv::nbd
