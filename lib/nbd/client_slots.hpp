// The clients of a server, with the thread on which each one currently runs, so that the control
// thread can send actions to them. Actions for a client that is between two threads wait until it
// has arrived.
//
// Owned by a server, on its control thread. The connections share ownership with posted actions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nbd/connection.hpp"
#include "xenpv/async/asio.hpp"

namespace xenpv::nbd {

using connection_ptr = std::shared_ptr<connection>;

struct client_slot {
  using action = std::function<void(connection&)>;

  std::uint64_t number = 0;
  std::string name{};  ///< "client 7 (192.0.2.7:41312)"
  /// Null until a thread has created it.
  connection_ptr client{};
  /// The thread that runs the connection; empty while it moves.
  std::optional<asio::any_io_executor> thread{};
  /// For posting to `client` once it has arrived.
  std::vector<action> pending{};

  enum class phase : std::uint8_t { handshake, waiting, served } now = phase::handshake;
  std::size_t export_index = 0;               ///< valid when waiting or served
  const blk::block_device* device = nullptr;  ///< valid when waiting or served
  std::size_t queue = 0;                      ///< valid when served
  /// For clients of serve_agreed().
  bool is_kernel = false;
  std::function<void(bool)> ended{};
};

class client_slots {
 public:
  using position = std::list<client_slot>::iterator;

  [[nodiscard]] position add(client_slot slot) {
    return slots_.insert(slots_.end(), std::move(slot));
  }
  void remove(position slot) { slots_.erase(slot); }
  [[nodiscard]] client_slot* find(std::uint64_t number) noexcept;
  [[nodiscard]] std::list<client_slot>& all() noexcept { return slots_; }
  [[nodiscard]] std::size_t size() const noexcept { return slots_.size(); }
  [[nodiscard]] std::size_t count(client_slot::phase phase) const noexcept;
  /// Returns the queue of `device` with the fewest clients.
  [[nodiscard]] std::size_t least_used_queue(blk::block_device& device) const;

  /// Call when the client has arrived on the thread of `executor`.
  static void arrive(client_slot& slot, const asio::any_io_executor& executor);
  /// Call when the client leaves its thread. Returns the executor of that thread.
  static asio::any_io_executor depart(client_slot& slot);
  /// Calls `action` on the client's thread.
  static void post(client_slot& slot, client_slot::action action);

 private:
  std::list<client_slot> slots_;
};

}  // namespace xenpv::nbd
