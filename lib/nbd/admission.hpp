// Decides which clients may negotiate and which may use an export. A state machine without I/O.
// Bounds the handshakes in progress separately from the seats of served clients, and counts both
// for each listener and each source address, so that clients that never complete a handshake cannot
// keep others out.
//
//   arrive() -> handshake -> request_seat() -> seated | waiting -> seated
//
// Owned by a server, on its control thread. The owner disconnects evicted clients, and calls
// leave() when any client has disconnected.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace xenpv::nbd {

struct admission_limits {
  std::size_t seats = 16;        ///< clients that may use an export at a time
  std::size_t handshakes = 128;  ///< unfinished handshakes at a time
  std::size_t waiting = 64;      ///< clients that may wait for a seat
  /// Handshakes of one source address at a time; further ones evict its oldest. 0: a quarter of
  /// `handshakes`, at least 8.
  std::size_t handshakes_per_address = 0;
  /// Seats that one source address may hold or wait for. 0: three quarters of `seats`, at least 4,
  /// so that a client with the usual four connections never exceeds the limit.
  std::size_t seats_per_address = 0;
};

class admission {
 public:
  /// Ascending in the order of arrival.
  using client_id = std::uint64_t;

  explicit admission(const admission_limits& limits);

  /// Registers a client whose handshake begins. `source` is the client's address for the limits per
  /// address; empty: not limited. Returns the client to evict, if any: the oldest handshake
  /// of the same source if the source exceeds its limit, otherwise, if there are too many
  /// handshakes, the client that make_room() chooses. Never evicts `client` itself.
  [[nodiscard]] std::optional<client_id> arrive(client_id client, std::size_t listener,
                                                std::string source);
  /// Marks a client as authenticated: it is evicted only if all others are also authenticated.
  void authenticated(client_id client);

  /// Evicts the oldest unfinished handshake of the listener with the most unfinished handshakes,
  /// and returns it; nullopt if there is none. Prefers unauthenticated clients. Never evicts
  /// `except`.
  [[nodiscard]] std::optional<client_id> make_room(client_id except = 0);

  enum class verdict : std::uint8_t {
    seated,
    waiting,           ///< leave() of another client grants the seat
    address_is_full,   ///< the source address has its share of seats
    too_many_waiting,  ///< too many clients wait already
    evicted,           ///< arrive() or make_room() evicted the client in the meantime
  };
  struct answer {
    verdict result = verdict::seated;
    /// A waiting client that must make room, because its listener has more waiting clients than
    /// the listener of the new one; refuse it.
    std::optional<client_id> displaced{};
  };
  /// Call when the handshake of `client` is complete. Ends the handshake in all cases.
  [[nodiscard]] answer request_seat(client_id client);

  /// Removes a client. Returns the waiting clients that now have a seat. Seats go to the listener
  /// with the fewest seats, and to its clients in the order of arrival.
  [[nodiscard]] std::vector<client_id> leave(client_id client);

  [[nodiscard]] std::size_t handshakes() const noexcept { return count(stage::handshake); }
  [[nodiscard]] std::size_t waiting() const noexcept { return count(stage::waiting); }
  [[nodiscard]] std::size_t seated() const noexcept { return count(stage::seated); }
  /// Evicted clients that have not disconnected yet. While they are as many as the limit on
  /// handshakes, the owner stops accepting clients: evicted clients still occupy descriptors.
  [[nodiscard]] std::size_t ending() const noexcept { return count(stage::ending); }
  [[nodiscard]] bool is_congested() const noexcept { return ending() >= limits_.handshakes; }
  [[nodiscard]] const admission_limits& limits() const noexcept { return limits_; }

 private:
  enum class stage : std::uint8_t { handshake, waiting, seated, ending };
  struct entry {
    std::size_t listener = 0;
    std::string source{};
    stage now = stage::handshake;
    bool is_authenticated = false;
  };
  using entries = std::map<client_id, entry>;

  void move(entry& client, stage to);
  [[nodiscard]] std::size_t count(stage of_interest) const noexcept {
    return counts_[static_cast<std::size_t>(of_interest)];
  }
  /// Clients of `listener` at `stage`.
  [[nodiscard]] std::size_t count_of(std::size_t listener, stage at) const noexcept;
  [[nodiscard]] std::size_t seats_of(const std::string& source) const noexcept;
  /// Returns the oldest handshake of `source` if the source has too many.
  [[nodiscard]] std::optional<client_id> surplus_of(const std::string& source);
  /// Makes room in the waiting room for `newcomer`; returns the client to refuse, which may be the
  /// newcomer itself.
  [[nodiscard]] client_id choose_displaced(client_id newcomer) const;
  [[nodiscard]] std::vector<client_id> grant_seats();

  admission_limits limits_;
  entries clients_;
  std::size_t counts_[4] = {};
};

}  // namespace xenpv::nbd
