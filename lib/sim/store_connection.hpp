// One client of the store: its half-read requests, its unread output, its watches and transactions.
//
// Owned by the service. Knows the wire's framing, but not what requests mean.
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

/// Bytes of watch events a connection may leave unread; further events are dropped, as xenstored
/// drops them for a domain that has used up its memory quota (of this size).
inline constexpr std::size_t store_unread_events_max = 2'621'440;

class store_connection {
 public:
  explicit store_connection(domid owner) : domain(owner) {}

  void reply(const wire::xs_message_header& request, wire::xs_type type, std::string_view payload);
  /// Drops the event when an equal one is still unread (special events excepted), when it does not
  /// fit into a message, or when too much is unread.
  void send_event(std::string_view path, std::string_view token);

  [[nodiscard]] bool has_output() const noexcept { return !output_.empty(); }
  [[nodiscard]] std::vector<std::byte> take_output();

  /// Null when there is none of this number.
  [[nodiscard]] store_transaction* transaction(std::uint32_t id) const;
  [[nodiscard]] std::uint32_t start_transaction(store_tree& tree,
                                                std::optional<std::size_t> node_limit);
  /// Forgets watches and transactions.
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
