// TLS credentials of an NBD server and the requirements for its clients: certificates or pre-shared
// keys, in the file formats of qemu, nbdkit and GnuTLS. TLS 1.2 and 1.3; every key exchange has
// forward secrecy and uses elliptic curves.
//
// Loaded once, at construction, and immutable afterwards. Shared by all connections, on any thread.
// To reload the files, construct new credentials: if that throws, the old ones stay valid.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace xenpv::nbd {

class tls_credentials {
 public:
  /// `directory` contains server-cert.pem (followed by any intermediate certificates) and
  /// server-key.pem (PEM, without a passphrase). With `verify_peer`, clients need a certificate
  /// signed by ca-cert.pem and, if ca-crl.pem exists, not revoked by it; otherwise any client may
  /// connect. Throws a `failure` that names the file. Logs one warning for each problem that will
  /// make handshakes fail (a certificate that is expired, ends within two weeks or is not signed by
  /// ca-cert.pem; a revocation list that is expired or from another CA), and for a private key that
  /// other users can read.
  [[nodiscard]] static std::shared_ptr<const tls_credentials> from_certificates(
      const std::string& directory, bool verify_peer);

  /// The file `path` contains lines "USER:KEY" with the key in hexadecimal, as written by
  /// psktool(1). Only clients with a key can connect. Throws a `failure` that names the file and
  /// the line.
  [[nodiscard]] static std::shared_ptr<const tls_credentials> from_psk_file(
      const std::string& path);

  ~tls_credentials();
  tls_credentials(const tls_credentials&) = delete;
  tls_credentials& operator=(const tls_credentials&) = delete;

  /// The users with a pre-shared key, in file order; empty if certificates are used.
  [[nodiscard]] const std::vector<std::string>& users() const noexcept;

  struct context;
  /// The OpenSSL objects, for use in lib/nbd only.
  [[nodiscard]] const context& in_openssl() const noexcept { return *context_; }

 private:
  explicit tls_credentials(std::unique_ptr<const context> made);

  std::unique_ptr<const context> context_;
};

}  // namespace xenpv::nbd
