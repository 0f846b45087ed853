// A TLS client without a socket, based on OpenSSL: the peer of a tls_engine.
#pragma once

#include <string>
#include <string_view>

#include "nbd/openssl.hpp"
#include "nbd/tls_engine.hpp"
#include "tls_pki.hpp"

namespace xenpv::nbd::test {

struct tls_client_options {
  int version = TLS1_3_VERSION;     ///< the only version it supports
  const tls_pki* trusts = nullptr;  ///< verifies the server with its ca-cert.pem
  const tls_pki* shows = nullptr;   ///< presents its client certificate
  std::string user{}, key{};        ///< has this pre-shared key, in bytes
};

class tls_client {
 public:
  explicit tls_client(tls_client_options options);

  /// Runs the handshake on both sides. Returns true if both complete it.
  bool shake_hands(tls_engine& server);
  /// Transfers the pending output of both sides; to the server, in parts of `at_once` bytes.
  void exchange(tls_engine& server, std::size_t at_once = ~std::size_t{0});

  void write(std::string_view text);
  /// The plaintext received so far.
  [[nodiscard]] std::string read();
  void close_notify() { SSL_shutdown(ssl_.get()); }
  [[nodiscard]] bool received_close_notify() const {
    return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
  }
  [[nodiscard]] SSL* ssl() const noexcept { return ssl_.get(); }
  /// Ciphertext for the server.
  [[nodiscard]] std::string take_output();
  void give_input(std::string_view bytes);

 private:
  static unsigned give_key(SSL* ssl, const char* hint, char* name, unsigned name_size,
                           unsigned char* key, unsigned key_size);
  tls_client_options options_;
  ssl_ctx_ptr context_;
  ssl_ptr ssl_;
};

/// Reads everything that the server has received.
[[nodiscard]] std::string read_all(tls_engine& server);
[[nodiscard]] bool write_all(tls_engine& server, std::string_view text);

}  // namespace xenpv::nbd::test
