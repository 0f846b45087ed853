// Words for the log when TLS fails: what OpenSSL says, whose fault it is likely to be, and what to
// do about it. No state, no I/O.
#pragma once

#include <openssl/x509.h>

#include <string>
#include <string_view>

namespace xenpv::nbd {

struct tls_problem_facts {
  unsigned long code = 0;       ///< of OpenSSL's error queue; 0: none
  std::string_view source;      ///< the file of keys or the directory of certificates
  bool has_keys = false;        ///< the server has pre-shared keys, else certificates
  bool in_handshake = true;     ///< else it was up and running
  std::string_view asked_user;  ///< the user whose key the client named; empty: none
  bool user_known = false;
  long verify_result = X509_V_OK;  ///< of the client's certificate
};

/// "TLS handshake: unknown ca (the client does not ...)".
[[nodiscard]] std::string describe_tls_problem(const tls_problem_facts& facts);

/// A name that a client chose, fit to be shown: one line, UTF-8, at most 64 bytes.
[[nodiscard]] std::string printable_name(std::string_view name);
/// "CN=client.example.com,O=Example"
[[nodiscard]] std::string subject_of(const X509& certificate);

}  // namespace xenpv::nbd
