#include "nbd/exposure.hpp"

#include <fmt/format.h>

namespace xenpv::nbd {
namespace {

bool authenticates(const exposure_facts& facts) noexcept {
  if (facts.access != nullptr && facts.access->requires_identity()) return true;
  return facts.tls == tls_mode::require && (facts.has_keys || facts.verify_peer);
}

/// "anyone who can reach this server": the clients that need neither a key nor a certificate.
std::string_view anonymous_clients(const exposure_facts& facts) noexcept {
  if (facts.access != nullptr) return "all clients at the addresses in the access list";
  return facts.listeners == reach::network ? "anyone who can reach this server"
                                           : "any user of this machine";
}

std::string_view rights_of(const exposure_facts& facts) noexcept {
  const bool may_write =
      !facts.read_only && (facts.access == nullptr || facts.access->most() == access::read_write);
  return may_write ? "read and write the disk" : "read the disk";
}

std::string_view reason_for(const exposure_facts& facts) noexcept {
  switch (facts.tls) {
    case tls_mode::off:
      return "TLS is off";
    case tls_mode::on:
      return "TLS is optional (--tls on)";
    case tls_mode::require:
      break;
  }
  return "clients need no certificate";
}

std::string_view remedy_for(const exposure_facts& facts) noexcept {
  const bool is_local = facts.listeners != reach::network;
  switch (facts.tls) {
    case tls_mode::off:
      return is_local
                 ? "use --unix PATH to allow only its owner, or --tls-psk FILE to require a key"
                 : "use --tls-psk FILE to require a key, or --tcp localhost:PORT to allow only "
                   "this machine";
    case tls_mode::on:
      return facts.has_keys || facts.verify_peer
                 ? "use --tls require"
                 : "use --tls require and --tls-verify-peer, or --tls-psk FILE";
    case tls_mode::require:
      break;
  }
  return "use --tls-verify-peer to require one, or --tls-psk FILE to require a key";
}

}  // namespace

reach reach_of(const peer_address& local, bool others_may_write) noexcept {
  if (local.kind == peer_address::family::unix_socket)
    return others_may_write ? reach::local_users : reach::permitted_users;
  return is_local(local) ? reach::local_users : reach::network;
}

std::optional<exposure> describe_exposure(const exposure_facts& facts) {
  if (facts.access != nullptr && facts.access->requires_identity() && facts.tls == tls_mode::off)
    return exposure{true,
                    "nobody can connect: each rule of the access list requires a key or a "
                    "certificate, and TLS is off; use --tls-psk FILE or --tls-certificates "
                    "DIR"};
  if (facts.listeners == reach::permitted_users || authenticates(facts)) return std::nullopt;
  const bool is_remote = facts.listeners == reach::network;
  const bool can_eavesdrop = is_remote && facts.tls != tls_mode::require;
  return exposure{
      is_remote,
      fmt::format("{}: {} can connect and {}{}; {}", reason_for(facts), anonymous_clients(facts),
                  rights_of(facts), can_eavesdrop ? ", and anyone on the path can eavesdrop" : "",
                  remedy_for(facts))};
}

}  // namespace xenpv::nbd
