// A certificate authority for tests. It creates valid and invalid keys and certificates in a
// temporary directory, under the file names that NBD servers expect.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "nbd/openssl.hpp"

namespace xenpv::nbd::test {

using key_ptr = std::unique_ptr<EVP_PKEY, openssl_deleter<EVP_PKEY_free>>;
using x509_ptr = std::unique_ptr<X509, openssl_deleter<X509_free>>;

struct certificate_options {
  std::string name = "localhost";      ///< CN
  std::string purpose = "serverAuth";  ///< extended key usage; "CA" for an authority
  long first_day = -1, last_day = 30;  ///< validity, in days from today
  unsigned rsa_bits = 0;               ///< 0: an ECDSA key
  bool with_sha1 = false;              ///< signed with SHA-1 instead of SHA-256
};

class tls_pki {
 public:
  /// Creates ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem and client-key.pem. If
  /// `is_intermediate` is true, the authority is signed by a root whose certificate is not saved.
  /// The authority's certificate is valid until `last_day`.
  explicit tls_pki(const std::string& name = "test CA", bool is_intermediate = false,
                   long last_day = 30);
  ~tls_pki();
  tls_pki(const tls_pki&) = delete;
  tls_pki& operator=(const tls_pki&) = delete;

  [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
  [[nodiscard]] std::string path(std::string_view name) const;

  /// Replaces OWNER-cert.pem and OWNER-key.pem.
  void issue(const std::string& owner, const certificate_options& options);
  /// Writes ca-crl.pem, which revokes the certificates of `owners` and is valid from `first_day` to
  /// `last_day`.
  void revoke(const std::vector<std::string>& owners, long last_day = 30, long first_day = -2);
  void write(std::string_view name, std::string_view text) const;
  /// Encrypts OWNER-key.pem with a passphrase.
  void lock_key(const std::string& owner) const;

 private:
  [[nodiscard]] x509_ptr make(const certificate_options& options, EVP_PKEY& key, X509* issuer,
                              EVP_PKEY& issuer_key);

  std::string directory_;
  key_ptr authority_key_;
  x509_ptr authority_;
  std::vector<std::pair<std::string, long>> serials_;
  long next_serial_ = 1;
};

/// Returns a key of `size` bytes in the format of a key file.
[[nodiscard]] std::string hexadecimal_key(char fill, std::size_t size = 32);

}  // namespace xenpv::nbd::test
