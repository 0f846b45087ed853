// What an NBD server proves itself with to TLS clients, and what it asks of them: certificates or
// pre-shared keys, in files as qemu, nbdkit and GnuTLS name and write them. TLS 1.2 and 1.3; every
// key exchange has forward secrecy.
//
// Read once, when made, and constant from then on: shared by all connections, on any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace xenpv::nbd {

class tls_credentials {
 public:
  /// `directory` holds server-cert.pem (with intermediate certificates behind it, if there are any)
  /// and server-key.pem (PEM, without a passphrase). With `verify_peer` clients need a certificate
  /// that ca-cert.pem has signed and that ca-crl.pem, if there is one, does not revoke; else
  /// anybody may connect.
  /// Throws `failure` that names the file. What clients are going to complain about (a certificate
  /// that expired, one that ca-cert.pem did not sign) and a key that others can read are warnings
  /// in the log.
  [[nodiscard]] static std::shared_ptr<const tls_credentials> from_certificates(
      const std::string& directory, bool verify_peer);

  /// `path` holds lines "USER:KEY" with the key in hexadecimal, as psktool(1) writes them. Who has
  /// a key may connect. Throws `failure` that names the file and the line.
  [[nodiscard]] static std::shared_ptr<const tls_credentials> from_psk_file(
      const std::string& path);

  ~tls_credentials();
  tls_credentials(const tls_credentials&) = delete;
  tls_credentials& operator=(const tls_credentials&) = delete;

  /// Those that have a pre-shared key, in the file's order; none with certificates.
  [[nodiscard]] const std::vector<std::string>& users() const noexcept;

  /// In OpenSSL's form; lib/nbd only.
  struct context;
  [[nodiscard]] const context& in_openssl() const noexcept { return *context_; }

 private:
  explicit tls_credentials(std::unique_ptr<const context> made);

  std::unique_ptr<const context> context_;
};

}  // namespace xenpv::nbd
