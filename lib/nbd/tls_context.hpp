// The OpenSSL objects for the credentials: one SSL_CTX for all connections of a server. Created by
// tls_credentials.cpp; immutable and usable from any thread.
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
  bool has_keys = false;  ///< pre-shared keys; otherwise certificates
  std::string source;     ///< the file or the directory, for messages
  std::vector<std::string> users;
  std::map<std::string, std::vector<std::byte>, std::less<>> keys;
};

}  // namespace xenpv::nbd
