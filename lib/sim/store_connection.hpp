// One client of the store: partial requests, unread output, watches and transactions.
//
// Owned by the service. Handles the framing of the wire protocol, but not the requests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "sim/store_request.hpp"
#include "sim/store_transaction.hpp"
#include "sim/store_watch.hpp"

namespace xenpv::sim {

/// Limit on unread watch events per connection, in bytes. Further events are dropped, as xenstored
/// does for a domain that has exhausted its memory quota, which has the same size.
inline constexpr std::size_t store_unread_events_max = 2'621'440;

class store_connection {
 public:
  explicit store_connection(domid owner) : domain(owner) {}

  void reply(const wire::xs_message_header& request, wire::xs_type type, std::string_view payload);
  /// Queues the event and returns true. Drops it and returns false if an equal one is still unread
  /// (except special events), if it does not fit into a message, or if store_unread_events_max
  /// would be exceeded.
  bool send_event(std::string_view path, std::string_view token);

  [[nodiscard]] bool has_output() const noexcept { return !output_.empty(); }
  [[nodiscard]] std::vector<std::byte> take_output();

  /// Returns nullptr if there is no open transaction with this number.
  [[nodiscard]] store_transaction* transaction(std::uint32_t id) const;
  [[nodiscard]] std::uint32_t start_transaction(store_tree& tree,
                                                std::optional<std::size_t> node_limit);
  /// Removes all watches and transactions.
  void reset();

  domid domain;
  store_request_reader reader;
  std::vector<store_watch> watches;  ///< in order of registration
  std::map<std::uint32_t, std::unique_ptr<store_transaction>> transactions;

 private:
  void append(const wire::xs_message_header& header, std::string_view payload);

  std::vector<std::byte> output_;
  std::unordered_set<std::string> unread_events_;
  std::size_t unread_event_bytes_ = 0;
  std::uint32_t next_transaction_ = 1;
};

}  // namespace xenpv::sim
