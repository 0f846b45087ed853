// Log messages for TLS failures: OpenSSL's reason, the likely cause, and the remedy. No state, no
// I/O.
#pragma once

#include <openssl/x509.h>

#include <string>
#include <string_view>

namespace xenpv::nbd {

struct tls_problem_facts {
  unsigned long code = 0;       ///< from OpenSSL's error queue; 0: none
  std::string_view source;      ///< the key file or the certificate directory
  bool has_keys = false;        ///< pre-shared keys; otherwise certificates
  bool in_handshake = true;     ///< false: after the handshake
  std::string_view asked_user;  ///< the user that the client named; empty: none
  bool user_known = false;
  long verify_result = X509_V_OK;  ///< result of verifying the client's certificate
};

/// "TLS handshake: unknown ca (the client does not ...)".
[[nodiscard]] std::string describe_tls_problem(const tls_problem_facts& facts);

/// Returns a client's name in a form that is safe to display: one line, UTF-8, at most 256 bytes.
[[nodiscard]] std::string printable_name(std::string_view name);
/// Explains why OpenSSL refuses a certificate at this security level, such as a key that is too
/// short, and suggests a certificate to issue instead. Empty for other reasons.
[[nodiscard]] std::string explain_weakness(int reason, int security_level);
/// "CN=client.example.com,O=Example": as in RFC 2253, in ASCII without control characters.
[[nodiscard]] std::string subject_of(const X509& certificate);

}  // namespace xenpv::nbd
