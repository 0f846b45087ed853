// Checks certificates and revocation lists when they are read: warns, before the first client
// connects, about problems that will make clients fail. Does not refuse anything.
#pragma once

#include <string>

#include "nbd/openssl.hpp"

namespace xenpv::nbd {

/// Logs a warning for each problem of the server's certificate in `context`, which was read from
/// `directory`: clients that trust ca-cert.pem will reject it, or it expires within two weeks.
/// `verify_peer`: also warns if the CA has expired or the revocation list is expired, not valid
/// yet, or from another CA, so that clients' certificates would be refused.
void check_certificates(SSL_CTX& context, const std::string& directory, bool verify_peer);

}  // namespace xenpv::nbd
