// An access list: which clients may use a server's exports, by TLS identity and by address, and
// whether they may write. Parsed from a file that the administrator writes.
//
// Immutable; usable from any thread. No I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/nbd/peer_address.hpp"

namespace xenpv::nbd {

/// A client's rights to an export.
enum class access : std::uint8_t { none, read_only, read_write };
/// "none", "read-only", "read-write".
[[nodiscard]] std::string_view to_string(access value) noexcept;

/// The identity that a client has proved during the TLS handshake.
struct tls_identity {
  /// The kind of proof. `none`: plaintext, or TLS without a client certificate.
  enum class proof : std::uint8_t { none, key, certificate };

  proof kind = proof::none;  ///< see proof
  /// The key's user, byte for byte as the client sent it, or the certificate's subject as in RFC
  /// 2253 ("CN=backup,O=Example"). May contain any bytes: display it with to_string().
  std::string name;

  friend bool operator==(const tls_identity&, const tls_identity&) = default;
};
/// The identity as a condition of a rule: "psk:alice", "cert:CN=backup,O=Example"; empty for none.
/// Safe to display.
[[nodiscard]] std::string to_string(const tls_identity& identity);

/// The rules of one file, in its order. Each line is a rule, a comment that begins with #, or
/// empty:
///
///     allow rw psk:alice
///     allow ro "cert:CN=backup server,O=Example" address:192.0.2.0/24
///     deny address:2001:db8::7
///     allow ro address:2001:db8::/32
///     allow rw unix
///
/// A rule is "allow rw", "allow ro" or "deny", followed by an identity, an address, or both, which
/// must then both match. The first rule that matches applies; if no rule matches, access is denied.
/// A condition that contains blanks is enclosed in double quotes.
///
/// "psk:USER" and "cert:SUBJECT" match this TLS identity, "psk:*" and "cert:*" any of that kind;
/// they never match a client without TLS. "address:ADDRESS" and "address:ADDRESS/BITS" match IPv4
/// or IPv6 addresses, "vsock:CID" a vsock address, "unix" clients of Unix sockets, and "any" all
/// clients.
class access_list {
 public:
  /// Parses the text of a file. Errors begin with "SOURCE:LINE: ". A text without rules is an
  /// error, because it would deny all clients.
  [[nodiscard]] static result<access_list> parse(std::string_view text, std::string_view source);

  /// Decides on a client's rights once its TLS handshake, if any, is complete.
  [[nodiscard]] access decide(const peer_address& peer, const tls_identity& identity) const;
  /// Returns the maximum access that this peer could get with any identity. `none`: the peer can be
  /// disconnected before the handshake.
  [[nodiscard]] access decide_address(const peer_address& peer) const noexcept;
  /// Returns the most that any client could get.
  [[nodiscard]] access most() const noexcept;
  /// True if each rule that allows access requires a TLS identity.
  [[nodiscard]] bool requires_identity() const noexcept;

 private:
  struct network {
    peer_address base;  ///< its kind determines the meaning of `bits`
    unsigned bits = 0;  ///< length of the prefix of an IPv4 or IPv6 address
  };
  struct rule {
    access grants = access::none;
    std::optional<network> from;           ///< unset: any address
    std::optional<tls_identity> identity;  ///< unset: any client; an empty name: any of this kind
  };
  struct parser;

  [[nodiscard]] static bool contains(const network& range, const peer_address& peer) noexcept;

  std::vector<rule> rules_;
};

}  // namespace xenpv::nbd
