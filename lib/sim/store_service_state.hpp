// The state of a store_service. Private to store_service.cpp and the files that handle its requests
// (store_node_requests.cpp, store_domain_requests.cpp).
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

/// The payload of a reply that only reports success, including the terminating NUL.
inline const std::string reply_ok("OK\0", 3);

struct store_service::state {
  using answer = store_result<std::string>;  ///< the reply's payload

  store_quota quota;
  store_faults faults{};
  std::uint64_t guest_requests = 0;
  std::uint32_t requests_since_faults = 0;  ///< guest requests only
  std::uint32_t commits_since_faults = 0;
  store_tree tree;
  std::map<connection_id, std::unique_ptr<store_connection>>
      connections;  ///< in order of attach() calls
  std::uint64_t last_connection = 0;
  std::vector<connection_id> ready;
  std::set<domid> introduced{domid_0};
  std::map<domid, domid> targets;  ///< SET_TARGET: serving domain -> target
  store_change_handler on_change = [this](const store_change& change) { fire(change); };

  explicit state(store_quota limits) : quota(limits) {}

  [[nodiscard]] store_connection* connection(connection_id id) const;
  [[nodiscard]] store_caller caller(domid domain) const;
  [[nodiscard]] store_view view(domid domain, store_transaction* transaction);
  [[nodiscard]] std::size_t watch_count(domid domain) const;
  [[nodiscard]] std::size_t transaction_count(domid domain) const;

  /// Sends the change to every matching watch whose client may be notified.
  void fire(const store_change& change);
  void fire_special(std::string_view event);
  void mark_ready(connection_id id);

  void introduce(domid domain);
  void release(domid domain);

  void serve(connection_id id, store_connection& client, const store_request& request);
  [[nodiscard]] answer execute(store_connection& client, const store_request& request);
  [[nodiscard]] answer dispatch(store_connection& client, const store_request& request,
                                store_transaction* transaction);
  /// Returns true if an injected fault makes the request fail. A failed request to end a
  /// transaction also drops the transaction.
  [[nodiscard]] bool is_sabotaged(store_connection& client, const store_request& request);

  // Nodes, watches and transactions: store_node_requests.cpp.
  [[nodiscard]] answer read(store_connection& client, std::string_view payload,
                            store_transaction* transaction);
  [[nodiscard]] answer directory(store_connection& client, std::string_view payload,
                                 store_transaction* transaction);
  [[nodiscard]] answer directory_part(store_connection& client, std::string_view payload,
                                      store_transaction* transaction);
  [[nodiscard]] answer get_perms(store_connection& client, std::string_view payload,
                                 store_transaction* transaction);
  [[nodiscard]] answer write(store_connection& client, std::string_view payload,
                             store_transaction* transaction);
  [[nodiscard]] answer mkdir(store_connection& client, std::string_view payload,
                             store_transaction* transaction);
  [[nodiscard]] answer rm(store_connection& client, std::string_view payload,
                          store_transaction* transaction);
  [[nodiscard]] answer set_perms(store_connection& client, std::string_view payload,
                                 store_transaction* transaction);
  [[nodiscard]] answer watch(store_connection& client, std::string_view payload);
  [[nodiscard]] answer unwatch(store_connection& client, std::string_view payload);
  [[nodiscard]] answer transaction_start(store_connection& client, store_transaction* transaction);
  [[nodiscard]] answer transaction_end(store_connection& client, const store_request& request);

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
