// Whether clients may or must use TLS: the modes of the protocol document, section "TLS".
#pragma once

#include <cstdint>

namespace xenpv::nbd {

enum class tls_mode : std::uint8_t {
  off,      ///< NOTLS
  on,       ///< SELECTIVETLS without exports that require it: plaintext by default
  require,  ///< FORCEDTLS
};

}  // namespace xenpv::nbd
