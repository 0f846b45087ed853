// Whether clients may or must use TLS: the modes defined in section "TLS" of the NBD protocol
// document.
#pragma once

#include <cstdint>

namespace xenpv::nbd {

/// Whether clients may or must use TLS.
enum class tls_mode : std::uint8_t {
  off,      ///< NOTLS
  on,       ///< SELECTIVETLS, but every export allows plaintext: the client chooses
  require,  ///< FORCEDTLS
};

}  // namespace xenpv::nbd
