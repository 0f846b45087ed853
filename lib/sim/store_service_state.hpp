// What a store_service is made of. Private to store_service.cpp and the files that answer its
// requests (store_node_requests.cpp, store_domain_requests.cpp).
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sim/store_connection.hpp"
#include "sim/store_service.hpp"
#include "sim/store_view.hpp"

namespace xenpv::sim {

/// The payload of a reply that carries nothing but success; the zero is part of it.
inline const std::string reply_ok("OK\0", 3);

struct store_service::state {
  using answer = store_result<std::string>;  ///< payload of the reply

  store_quota quota;
  store_faults faults{};
  std::uint64_t guest_requests = 0;
  std::uint32_t requests_since_faults = 0;  ///< of guests, since the faults were set
  std::uint32_t commits_since_faults = 0;
  store_tree tree;
  std::map<connection_id, std::unique_ptr<store_connection>>
      connections;  ///< in order of attaching
  std::uint64_t last_connection = 0;
  std::vector<connection_id> ready;
  std::set<domid> introduced{domid_0};
  std::map<domid, domid> targets;  ///< SET_TARGET: who serves whom
  store_change_handler on_change = [this](const store_change& change) { fire(change); };

  explicit state(store_quota limits) : quota(limits) {}

  [[nodiscard]] store_connection* connection(connection_id id) const;
  [[nodiscard]] store_caller caller(domid domain) const;
  [[nodiscard]] store_view view(domid domain, store_transaction* transaction);
  [[nodiscard]] std::size_t watch_count(domid domain) const;
  [[nodiscard]] std::size_t transaction_count(domid domain) const;

  /// Sends the change to every watch that matches and may hear of it.
  void fire(const store_change& change);
  void fire_special(std::string_view event);
  void mark_ready(connection_id id);

  void introduce(domid domain);
  void release(domid domain);

  void serve(connection_id id, store_connection& from, const store_request& request);
  [[nodiscard]] answer execute(store_connection& from, const store_request& request);
  [[nodiscard]] answer dispatch(store_connection& from, const store_request& request,
                                store_transaction* transaction);
  /// True when a fault is due; a transaction that the request would have ended is dropped.
  [[nodiscard]] bool is_sabotaged(store_connection& from, const store_request& request);

  // Nodes, watches and transactions: store_node_requests.cpp.
  [[nodiscard]] answer read(store_connection& from, std::string_view payload,
                            store_transaction* in);
  [[nodiscard]] answer directory(store_connection& from, std::string_view payload,
                                 store_transaction* in);
  [[nodiscard]] answer directory_part(store_connection& from, std::string_view payload,
                                      store_transaction* in);
  [[nodiscard]] answer get_perms(store_connection& from, std::string_view payload,
                                 store_transaction* in);
  [[nodiscard]] answer write(store_connection& from, std::string_view payload,
                             store_transaction* in);
  [[nodiscard]] answer mkdir(store_connection& from, std::string_view payload,
                             store_transaction* in);
  [[nodiscard]] answer rm(store_connection& from, std::string_view payload, store_transaction* in);
  [[nodiscard]] answer set_perms(store_connection& from, std::string_view payload,
                                 store_transaction* in);
  [[nodiscard]] answer watch(store_connection& from, std::string_view payload);
  [[nodiscard]] answer unwatch(store_connection& from, std::string_view payload);
  [[nodiscard]] answer transaction_start(store_connection& from, store_transaction* in);
  [[nodiscard]] answer transaction_end(store_connection& from, const store_request& request);

  // Domains: store_domain_requests.cpp.
  [[nodiscard]] answer introduce(std::string_view payload);
  [[nodiscard]] answer release(std::string_view payload);
  [[nodiscard]] answer resume(std::string_view payload);
  [[nodiscard]] answer set_target(std::string_view payload);
  [[nodiscard]] answer get_domain_path(std::string_view payload);
  [[nodiscard]] answer is_domain_introduced(std::string_view payload);
  [[nodiscard]] answer control(std::string_view payload);
};

}  // namespace xenpv::sim
