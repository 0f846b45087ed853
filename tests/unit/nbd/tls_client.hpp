// A TLS client without a socket, to talk to a tls_engine: OpenSSL again, the other side of it.
#pragma once

#include <string>
#include <string_view>

#include "nbd/openssl.hpp"
#include "nbd/tls_engine.hpp"
#include "tls_pki.hpp"

namespace xenpv::nbd::test {

struct client_wishes {
  int version = TLS1_3_VERSION;     ///< this one and no other
  const tls_pki* trusts = nullptr;  ///< verifies the server with its ca-cert.pem
  const tls_pki* shows = nullptr;   ///< has its client certificate
  std::string user{}, key{};        ///< has a pre-shared key, in bytes
};

class tls_client {
 public:
  explicit tls_client(client_wishes wishes);

  /// Both sides as far as they get. True: both are done.
  bool shake_hands(tls_engine& server);
  /// Moves what either has for the other; `at_once` bytes at a time towards the server.
  void exchange(tls_engine& server, std::size_t at_once = ~std::size_t{0});

  void write(std::string_view text);
  /// What is there.
  [[nodiscard]] std::string read();
  void say_goodbye() { SSL_shutdown(ssl_.get()); }
  [[nodiscard]] bool heard_goodbye() const {
    return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
  }
  [[nodiscard]] SSL* ssl() const noexcept { return ssl_.get(); }
  /// Ciphertext for the server.
  [[nodiscard]] std::string take_output();
  void give_input(std::string_view bytes);

 private:
  static unsigned give_key(SSL* ssl, const char* hint, char* name, unsigned name_size,
                           unsigned char* key, unsigned key_size);
  client_wishes wishes_;
  ssl_ctx_ptr context_;
  ssl_ptr ssl_;
};

/// Everything the server can read.
[[nodiscard]] std::string read_all(tls_engine& server);
[[nodiscard]] bool write_all(tls_engine& server, std::string_view text);

}  // namespace xenpv::nbd::test
