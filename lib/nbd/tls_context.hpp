// Credentials as OpenSSL wants them: one SSL_CTX for all connections of a server. Made by
// tls_credentials.cpp; constant, for any thread.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "nbd/openssl.hpp"
#include "xenpv/nbd/tls_credentials.hpp"

namespace xenpv::nbd {

struct tls_credentials::context {
  ssl_ctx_ptr openssl;
  bool has_keys = false;  ///< pre-shared; else certificates
  std::string source;     ///< the file or the directory, for messages
  std::vector<std::string> users;
  std::map<std::string, std::vector<std::byte>, std::less<>> keys;
};

}  // namespace xenpv::nbd
