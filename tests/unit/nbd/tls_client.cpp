#include "tls_client.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "bytes.hpp"

namespace xenpv::nbd::test {

tls_client::tls_client(tls_client_options options)
    : options_(std::move(options)), context_(SSL_CTX_new(TLS_client_method())) {
  auto* const ctx = context_.get();
  // Allow outdated versions and weak ciphers: the server must refuse them.
  SSL_CTX_set_security_level(ctx, 0);
  SSL_CTX_set_min_proto_version(ctx, options_.version);
  SSL_CTX_set_max_proto_version(ctx, options_.version);
  if (options_.trusts != nullptr) {
    SSL_CTX_load_verify_file(ctx, options_.trusts->path("ca-cert.pem").c_str());
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, nullptr);
  }
  if (options_.shows != nullptr) {
    const auto certificate = options_.shows->path("client-cert.pem");
    const auto key = options_.shows->path("client-key.pem");
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate.c_str()) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, key.c_str(), SSL_FILETYPE_PEM) != 1)
      throw std::runtime_error("load " + certificate);
  }
  if (!options_.user.empty()) SSL_CTX_set_psk_client_callback(ctx, give_key);
  ssl_.reset(SSL_new(ctx));
  SSL_set_app_data(ssl_.get(), &options_);
  SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_connect_state(ssl_.get());
}

unsigned tls_client::give_key(SSL* ssl, const char*, char* name, unsigned name_size,
                              unsigned char* key, unsigned key_size) {
  const auto& options = *static_cast<tls_client_options*>(SSL_get_app_data(ssl));
  if (options.user.size() >= name_size || options.key.size() > key_size) return 0;
  std::memcpy(name, options.user.c_str(), options.user.size() + 1);
  std::memcpy(key, options.key.data(), options.key.size());
  return static_cast<unsigned>(options.key.size());
}

bool tls_client::shake_hands(tls_engine& server) {
  auto server_status = tls_engine::status::needs_input;
  // More flights than any handshake needs.
  for (int flight = 0; flight < 8; ++flight) {
    const bool is_done = SSL_do_handshake(ssl_.get()) == 1;
    exchange(server);
    if (server_status == tls_engine::status::needs_input) server_status = server.shake_hands();
    exchange(server);
    if (server_status == tls_engine::status::failed) break;
    if (is_done && server_status == tls_engine::status::done) return true;
  }
  // Reads the server's alert.
  (void)SSL_do_handshake(ssl_.get());
  return false;
}

void tls_client::exchange(tls_engine& server, std::size_t at_once) {
  std::string_view left;
  const auto pending = take_output();
  for (left = pending; !left.empty();) {
    const auto space = server.input_space();
    const auto count = std::min({left.size(), space.size(), at_once});
    std::memcpy(space.data(), left.data(), count);
    server.input_received(count);
    left.remove_prefix(count);
  }
  give_input(as_text(server.output()));
  server.output().clear();
}

void tls_client::write(std::string_view text) {
  if (SSL_write(ssl_.get(), text.data(), static_cast<int>(text.size())) !=
      static_cast<int>(text.size()))
    throw std::runtime_error("the client cannot write");
}

std::string tls_client::read() {
  std::string out;
  char bytes[4096];
  for (int got = 0; (got = SSL_read(ssl_.get(), bytes, sizeof bytes)) > 0;)
    out.append(bytes, static_cast<std::size_t>(got));
  return out;
}

std::string tls_client::take_output() {
  std::string out(BIO_ctrl_pending(SSL_get_wbio(ssl_.get())), '\0');
  if (!out.empty()) BIO_read(SSL_get_wbio(ssl_.get()), out.data(), static_cast<int>(out.size()));
  return out;
}

void tls_client::give_input(std::string_view bytes) {
  if (!bytes.empty())
    BIO_write(SSL_get_rbio(ssl_.get()), bytes.data(), static_cast<int>(bytes.size()));
}

std::string read_all(tls_engine& server) {
  std::string out;
  std::string part(1000, '\0');
  for (;;) {
    const auto got = server.read(std::as_writable_bytes(std::span(part)));
    out.append(part, 0, got.count);
    if (got.then != tls_engine::status::done) return out;
  }
}

bool write_all(tls_engine& server, std::string_view text) {
  return server.write(as_bytes(text)) && server.end_write();
}

}  // namespace xenpv::nbd::test
