// The state of a store_service. Private to store_service.cpp and the files that handle its requests
// (store_node_requests.cpp, store_domain_requests.cpp, store_control_requests.cpp).
#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "sim/store_connection.hpp"
#include "sim/store_control_options.hpp"
#include "sim/store_service.hpp"
#include "sim/store_trace.hpp"
#include "sim/store_usage.hpp"
#include "sim/store_view.hpp"

namespace xenpv::sim {

/// The payload of a reply that only reports success, including the terminating NUL.
inline const std::string reply_ok("OK\0", 3);

struct store_service::state {
  using answer = store_result<std::string>;  ///< the reply's payload

  store_quota quota;
  store_quota host_quota;  ///< for host_view()
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
  store_control_options controls;
  store_trace trace;
  std::map<domid, store_usage> peaks;  ///< maxima of each domain; counted as in Xen 4.20 only
  store_usage highest_peak;            ///< of all domains except domain 0
  /// The connection that started a live update; null: none.
  const store_connection* live_update = nullptr;
  store_change_handler on_change = [this](const store_change& change) { fire(change); };

  state(const store_quota& limits, const store_control_options& control_options)
      : quota(limits), controls(control_options), trace(control_options) {
    host_quota.limits_paths_of_domain_0 = false;
  }

  [[nodiscard]] store_connection* connection(connection_id id) const;
  [[nodiscard]] store_caller caller(domid domain) const;
  [[nodiscard]] store_view view(domid domain, store_transaction* transaction);
  /// The view of the host itself: the rights of domain 0, and no path limit, because domain 0 could
  /// lower it.
  [[nodiscard]] store_view host_view();
  [[nodiscard]] std::size_t watch_count(domid domain) const;
  [[nodiscard]] std::size_t transaction_count(domid domain) const;

  /// Sends the change to every matching watch whose client may be notified.
  void fire(const store_change& change);
  void fire_special(std::string_view event);
  void send_event(connection_id id, store_connection& client, std::string_view path,
                  std::string_view token);
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

  // CONTROL, and the usage that it reports: store_control_requests.cpp.
  using control_parameters = std::span<const std::string_view>;
  [[nodiscard]] answer control(store_connection& client, std::string_view payload);
  [[nodiscard]] answer control_print(control_parameters parameters);
  [[nodiscard]] answer control_log(control_parameters parameters);
  [[nodiscard]] answer control_logfile(control_parameters parameters);
  [[nodiscard]] answer control_memreport(control_parameters parameters);
  [[nodiscard]] answer control_quota(control_parameters parameters);
  [[nodiscard]] answer control_quota_soft(control_parameters parameters);
  [[nodiscard]] answer control_quota_max(control_parameters parameters);
  [[nodiscard]] answer control_live_update(const store_connection& client,
                                           control_parameters parameters);
  [[nodiscard]] answer select_live_update(const store_connection& client, std::string_view program);
  [[nodiscard]] answer start_live_update(const store_connection& client,
                                         control_parameters parameters);
  /// Returns the domain's current resource usage. Visits every node if `with_memory` is set.
  [[nodiscard]] store_usage usage(domid domain, bool with_memory) const;
  [[nodiscard]] answer format_usage(std::uint32_t number);
  [[nodiscard]] std::string format_memory() const;
  /// Updates the maxima of the client's domain after a request, as Xen 4.20 does.
  void note_peaks(const store_connection& client, const store_request& request);
};

}  // namespace xenpv::sim
