// A TLS client without a socket, based on OpenSSL: the peer of a tls_engine.
#pragma once

#include <string>
#include <string_view>

#include "nbd/openssl.hpp"
#include "nbd/tls_engine.hpp"
#include "tls_pki.hpp"

namespace xenpv::nbd::test {

struct tls_client_options {
  int version = TLS1_3_VERSION;     ///< the only supported version
  const tls_pki* trusts = nullptr;  ///< if set, verifies the server with this ca-cert.pem
  const tls_pki* shows = nullptr;   ///< if set, presents this client-cert.pem
  std::string user{}, key{};        ///< pre-shared key (raw bytes); "" for none
};

class tls_client {
 public:
  explicit tls_client(tls_client_options options);

  /// Runs the handshake on both sides. Returns true if both sides complete it.
  bool shake_hands(tls_engine& server);
  /// Transfers the pending output of both sides. The server receives parts of `at_once` bytes.
  void exchange(tls_engine& server, std::size_t at_once = ~std::size_t{0});

  void write(std::string_view text);
  /// Returns the plaintext received since the last call.
  [[nodiscard]] std::string read();
  void close_notify() { SSL_shutdown(ssl_.get()); }
  [[nodiscard]] bool received_close_notify() const {
    return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
  }
  [[nodiscard]] SSL* ssl() const noexcept { return ssl_.get(); }
  /// Returns the pending ciphertext for the server and removes it from the output.
  [[nodiscard]] std::string take_output();
  void give_input(std::string_view bytes);

 private:
  static unsigned give_key(SSL* ssl, const char* hint, char* name, unsigned name_size,
                           unsigned char* key, unsigned key_size);
  tls_client_options options_;
  ssl_ctx_ptr context_;
  ssl_ptr ssl_;
};

/// Reads all plaintext that the server has received.
[[nodiscard]] std::string read_all(tls_engine& server);
[[nodiscard]] bool write_all(tls_engine& server, std::string_view text);

}  // namespace xenpv::nbd::test
