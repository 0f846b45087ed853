// Whether clients may, or have to, speak TLS: the modes of the protocol document, section "TLS".
#pragma once

#include <cstdint>

namespace xenpv::nbd {

enum class tls_mode : std::uint8_t {
  off,      ///< NOTLS
  on,       ///< SELECTIVETLS without exports that insist on it: who does not ask gets plaintext
  require,  ///< FORCEDTLS
};

}  // namespace xenpv::nbd
