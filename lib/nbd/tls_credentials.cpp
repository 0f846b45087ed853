#include "xenpv/nbd/tls_credentials.hpp"

#include <fmt/format.h>
#include <openssl/err.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "base/shell_quote.hpp"
#include "nbd/psk_file.hpp"
#include "nbd/tls_certificate_checks.hpp"
#include "nbd/tls_context.hpp"
#include "nbd/tls_engine.hpp"
#include "nbd/tls_problem.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::nbd {
namespace {

static_assert(longest_psk_name <= PSK_MAX_IDENTITY_LEN && longest_psk <= PSK_MAX_PSK_LEN);

// Cipher suites for TLS 1.2; all TLS 1.3 suites are acceptable. Each suite has forward secrecy and,
// except for those that old clients with pre-shared keys need, authenticated encryption.
//
// Only elliptic curves: a client needs no key to make the server compute finite-field
// Diffie-Hellman keys, which takes ten times as long. All clients that support TLS 1.2 support
// curves.
constexpr const char* ciphers_for_certificates = "ECDHE+AESGCM:ECDHE+CHACHA20";
constexpr const char* ciphers_for_keys = "kECDHEPSK+CHACHA20:kECDHEPSK+AES";
/// The first list that this OpenSSL supports: hybrid key exchange needs 3.5, and a system policy
/// may exclude X25519.
constexpr std::array key_exchange_groups = {"X25519MLKEM768:X25519:P-256:P-384",
                                            "X25519:P-256:P-384", "P-256:P-384"};
/// For TLS 1.3 with keys: a pre-shared key implies SHA-256 (RFC 8446, section 4.2.11).
constexpr const char* suites_for_keys = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";

/// Returns OpenSSL's reason for the latest failure on this thread and clears the error queue.
std::string openssl_reason() {
  const auto code = ERR_peek_error();
  ERR_clear_error();
  if (code == 0) return "no reason given";
  if (ERR_SYSTEM_ERROR(code)) return describe_errno(ERR_GET_REASON(code));
  const char* const reason = ERR_reason_error_string(code);
  return reason == nullptr ? fmt::format("OpenSSL error {:#x}", code) : std::string(reason);
}

[[noreturn]] void refuse(const std::string& path, std::string_view why) {
  throw failure(error{make_error_code(errc::invalid_argument), fmt::format("{}: {}", path, why)});
}

void require(bool done, const char* action) {
  if (done) return;
  throw failure(make_error_code(errc::not_available), action, openssl_reason());
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

void require_readable(const std::string& path, std::string_view remedy) {
  if (::access(path.c_str(), R_OK) != 0) throw_errno("read " + path, remedy);
}

void warn_if_others_can_read(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && (status.st_mode & (S_IRGRP | S_IROTH)) != 0)
    log().warn("{}: readable by other users; run chmod 600", path);
}

ssl_ctx_ptr make_context(const char* ciphers) {
  ssl_ctx_ptr out(SSL_CTX_new(TLS_server_method()));
  require(out != nullptr, "set up TLS");
  auto* const ctx = out.get();
  // System settings may require a newer version.
  if (SSL_CTX_get_min_proto_version(ctx) < TLS1_2_VERSION)
    require(SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1, "require TLS 1.2");
  require(SSL_CTX_set_cipher_list(ctx, ciphers) == 1, "choose ciphers");
  const bool has_groups = std::ranges::any_of(key_exchange_groups, [ctx](const char* groups) {
    return SSL_CTX_set1_groups_list(ctx, groups) == 1;
  });
  require(has_groups, "choose groups for the key exchange");
  ERR_clear_error();
  // Connections are few and long-lived: resumption is not worth keeping secrets in memory.
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  require(SSL_CTX_set_num_tickets(ctx, 0) == 1, "disable session tickets");
  return out;
}

void load_certificate(SSL_CTX* ctx, const std::string& path) {
  require_readable(path, "the directory must contain server-cert.pem and server-key.pem");
  if (SSL_CTX_use_certificate_chain_file(ctx, path.c_str()) == 1) return;
  const auto weakness =
      explain_weakness(ERR_GET_REASON(ERR_peek_last_error()), SSL_CTX_get_security_level(ctx));
  if (ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_SSL && !weakness.empty())
    refuse(path, weakness);
  refuse(path, fmt::format("no certificate in PEM format: {}", openssl_reason()));
}

/// A passphrase callback that does not supply a passphrase. Sets the bool to which `asked` points.
int give_no_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

void load_key(SSL_CTX* ctx, const std::string& path) {
  require_readable(path, "the directory must contain server-cert.pem and server-key.pem");
  warn_if_others_can_read(path);
  bool is_locked = false;
  SSL_CTX_set_default_passwd_cb(ctx, give_no_passphrase);
  SSL_CTX_set_default_passwd_cb_userdata(ctx, &is_locked);
  const bool loaded = SSL_CTX_use_PrivateKey_file(ctx, path.c_str(), SSL_FILETYPE_PEM) == 1;
  SSL_CTX_set_default_passwd_cb_userdata(ctx, nullptr);
  if (is_locked)
    refuse(path, "it has a passphrase; remove it with openssl pkey -in FILE -out server-key.pem");
  // When OpenSSL loads the key, it compares the key with a certificate of the same type, but does
  // not report a certificate of another type.
  const bool is_other = ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_X509;
  if (is_other || (loaded && SSL_CTX_check_private_key(ctx) != 1))
    refuse(path, "does not match server-cert.pem");
  if (!loaded) refuse(path, fmt::format("no private key in PEM format: {}", openssl_reason()));
}

void demand_client_certificates(SSL_CTX* ctx, const std::string& directory) {
  const auto authority = directory + "/ca-cert.pem";
  require_readable(authority, "it is required to verify client certificates");
  if (SSL_CTX_load_verify_file(ctx, authority.c_str()) != 1)
    refuse(authority, fmt::format("no certificate in PEM format: {}", openssl_reason()));
  // Do not send the CA name: a GnuTLS client whose certificate has a different issuer would then
  // not send its certificate, and the log could not distinguish this from a client without a
  // certificate.
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);

  auto* const store = SSL_CTX_get_cert_store(ctx);
  // Like GnuTLS, trust every certificate in ca-cert.pem, even one that is not self-signed.
  require(X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1, "trust the authority");
  const auto revoked = directory + "/ca-crl.pem";
  if (!exists(revoked)) return;
  require_readable(revoked, "it lists the revoked certificates");
  auto* const lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
  if (lookup == nullptr || X509_load_crl_file(lookup, revoked.c_str(), X509_FILETYPE_PEM) < 1)
    refuse(revoked, fmt::format("no revocation list in PEM format: {}", openssl_reason()));
  require(X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK) == 1,
          "check for revoked certificates");
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  char bytes[4096];
  while (file.read(bytes, sizeof bytes) || file.gcount() > 0)
    text.append(bytes, static_cast<std::size_t>(file.gcount()));
  if (file.bad() || !file.is_open()) throw_errno("read " + path);
  return text;
}

}  // namespace

std::shared_ptr<const tls_credentials> tls_credentials::from_certificates(
    const std::string& directory, bool verify_peer) {
  ERR_clear_error();
  auto made = std::make_unique<context>();
  made->openssl = make_context(ciphers_for_certificates);
  made->source = directory;
  auto* const ctx = made->openssl.get();
  load_certificate(ctx, directory + "/server-cert.pem");
  load_key(ctx, directory + "/server-key.pem");
  if (verify_peer) demand_client_certificates(ctx, directory);
  check_certificates(*ctx, directory, verify_peer);
  return std::shared_ptr<const tls_credentials>(new tls_credentials(std::move(made)));
}

std::shared_ptr<const tls_credentials> tls_credentials::from_psk_file(const std::string& path) {
  ERR_clear_error();
  require_readable(path, fmt::format("psktool -u USER -p {} creates it", shell_quote(path)));
  auto made = std::make_unique<context>();
  made->openssl = make_context(ciphers_for_keys);
  made->has_keys = true;
  made->source = path;
  for (auto& user : parse_psk_file(read_file(path), path).value()) {
    made->users.push_back(user.name);
    made->keys.emplace(std::move(user.name), std::move(user.key));
  }
  warn_if_others_can_read(path);
  auto* const ctx = made->openssl.get();
  require(SSL_CTX_set_ciphersuites(ctx, suites_for_keys) == 1, "choose cipher suites");
  // Prefer ChaCha20 only if the client does: such a client lacks hardware AES.
  SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_psk_server_callback(ctx, tls_engine::give_key);
  return std::shared_ptr<const tls_credentials>(new tls_credentials(std::move(made)));
}

tls_credentials::tls_credentials(std::unique_ptr<const context> made) : context_(std::move(made)) {}

tls_credentials::~tls_credentials() = default;

const std::vector<std::string>& tls_credentials::users() const noexcept {
  return context_->users;
}

}  // namespace xenpv::nbd
