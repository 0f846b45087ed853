// Describes in one sentence, for the log, which clients can connect to a server and write. Derives
// this from the server's addresses, TLS settings and access list. No I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "xenpv/nbd/access_list.hpp"
#include "xenpv/nbd/peer_address.hpp"
#include "xenpv/nbd/tls_mode.hpp"

namespace xenpv::nbd {

/// The group that can open a connection to a listening socket, from the smallest to the largest.
enum class reach : std::uint8_t {
  permitted_users,  ///< the owner and group of a Unix socket
  local_users,      ///< any user on this machine
  network,          ///< other machines
};
/// `others_may_write` is the permission of other users for the file of a Unix socket.
[[nodiscard]] reach reach_of(const peer_address& local, bool others_may_write) noexcept;

struct exposure_facts {
  reach listeners = reach::permitted_users;  ///< the largest of all listeners
  tls_mode tls = tls_mode::off;
  bool has_keys = false;                ///< TLS with pre-shared keys; otherwise certificates
  bool verify_peer = false;             ///< clients need a certificate
  const access_list* access = nullptr;  ///< null: no list
  bool read_only = false;               ///< no client can write
};

struct exposure {
  bool is_warning = false;  ///< false: worth telling, but common
  std::string text;         ///< one line
};

/// Returns nullopt if only clients that the administrator has chosen can connect: by a key, by a
/// certificate, by the access list over TLS, or by the permissions of a Unix socket.
[[nodiscard]] std::optional<exposure> describe_exposure(const exposure_facts& facts);

}  // namespace xenpv::nbd
