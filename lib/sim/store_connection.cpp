#include "sim/store_connection.hpp"

#include <utility>

#include "sim/store_path.hpp"

namespace xenpv::sim {

void store_connection::append(const wire::xs_message_header& header, std::string_view payload) {
  const auto head = std::as_bytes(std::span(&header, 1));
  const auto body = std::as_bytes(std::span(payload));
  output_.insert(output_.end(), head.begin(), head.end());
  output_.insert(output_.end(), body.begin(), body.end());
}

void store_connection::reply(const wire::xs_message_header& request, wire::xs_type type,
                             std::string_view payload) {
  append({.type = type,
          .req_id = request.req_id,
          .tx_id = request.tx_id,
          .len = static_cast<std::uint32_t>(payload.size())},
         payload);
}

bool store_connection::send_event(std::string_view path, std::string_view token) {
  std::string payload;
  payload.append(path).push_back('\0');
  payload.append(token).push_back('\0');
  if (payload.size() > wire::xs_payload_max) return false;
  const auto bytes = sizeof(wire::xs_message_header) + payload.size();
  if (unread_event_bytes_ + bytes > store_unread_events_max) return false;
  if (!is_special_store_path(path) && !unread_events_.insert(payload).second) return false;
  unread_event_bytes_ += bytes;
  append({.type = wire::xs_type::watch_event,
          .req_id = 0,
          .tx_id = 0,
          .len = static_cast<std::uint32_t>(payload.size())},
         payload);
  return true;
}

std::vector<std::byte> store_connection::take_output() {
  unread_events_.clear();
  unread_event_bytes_ = 0;
  return std::exchange(output_, {});
}

store_transaction* store_connection::transaction(std::uint32_t id) const {
  const auto entry = transactions.find(id);
  return entry == transactions.end() ? nullptr : entry->second.get();
}

std::uint32_t store_connection::start_transaction(store_tree& tree,
                                                  std::optional<std::size_t> node_limit) {
  // 0 means "no transaction" on the wire; after a wrap-around, old transactions may still be open.
  while (next_transaction_ == 0 || transactions.contains(next_transaction_))
    ++next_transaction_;
  transactions.emplace(next_transaction_, std::make_unique<store_transaction>(tree, node_limit));
  return next_transaction_++;
}

void store_connection::reset() {
  watches.clear();
  transactions.clear();
}

}  // namespace xenpv::sim
