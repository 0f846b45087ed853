#include "nbd/tls_certificate_checks.hpp"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <string_view>
#include <vector>

#include "nbd/tls_problem.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::nbd {
namespace {

/// A certificate is reported this long before it expires.
constexpr long days_of_notice = 14;
constexpr long day = 24L * 60 * 60;

using crl_ptr = std::unique_ptr<X509_CRL, openssl_deleter<X509_CRL_free>>;
using x509_ptr = std::unique_ptr<X509, openssl_deleter<X509_free>>;

bool is_past(const ASN1_TIME* time) {
  return time != nullptr && X509_cmp_current_time(time) < 0;
}

bool is_future(const ASN1_TIME* time) {
  return time != nullptr && X509_cmp_current_time(time) > 0;
}

bool ends_soon(const ASN1_TIME* time) {
  std::time_t limit = std::time(nullptr) + days_of_notice * day;
  return time != nullptr && X509_cmp_time(time, &limit) < 0;
}

/// "2026-11-29"
std::string date_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return "an unknown date";
  return fmt::format("{:04}-{:02}-{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday);
}

bio_ptr open_file(const std::string& path) {
  if (::access(path.c_str(), R_OK) != 0) return nullptr;
  return bio_ptr(BIO_new_file(path.c_str(), "r"));
}

std::vector<x509_ptr> read_certificates(const std::string& path) {
  std::vector<x509_ptr> out;
  const auto file = open_file(path);
  while (file) {
    x509_ptr next(PEM_read_bio_X509(file.get(), nullptr, nullptr, nullptr));
    if (!next) break;
    out.push_back(std::move(next));
  }
  ERR_clear_error();
  return out;
}

std::vector<crl_ptr> read_revocation_lists(const std::string& path) {
  std::vector<crl_ptr> out;
  const auto file = open_file(path);
  while (file) {
    crl_ptr next(PEM_read_bio_X509_CRL(file.get(), nullptr, nullptr, nullptr));
    if (!next) break;
    out.push_back(std::move(next));
  }
  ERR_clear_error();
  return out;
}

bool is_issued_by(X509_CRL& list, const x509_ptr& authority) {
  if (X509_NAME_cmp(X509_CRL_get_issuer(&list), X509_get_subject_name(authority.get())) != 0)
    return false;
  const bool is_signed = X509_CRL_verify(&list, X509_get0_pubkey(authority.get())) == 1;
  ERR_clear_error();
  return is_signed;
}

/// True if all certificates of the authority have expired.
bool warn_of_authority(const std::vector<x509_ptr>& authorities, const std::string& path,
                       bool verify_peer) {
  bool has_valid = false;
  for (const auto& authority : authorities) {
    const auto* const end = X509_get0_notAfter(authority.get());
    const auto subject = printable_name(subject_of(*authority));
    if (is_past(end))
      log().warn("{}: the certificate of {} expired on {}{}; renew it", path, subject, date_of(end),
                 verify_peer ? ": clients with its certificates are refused" : "");
    else if (ends_soon(end))
      log().warn("{}: the certificate of {} expires on {}; renew it", path, subject, date_of(end));
    has_valid = has_valid || !is_past(end);
  }
  return !authorities.empty() && !has_valid;
}

/// Returns the reason why clients that trust `authorities` will reject the server's certificate;
/// empty if they will accept it.
std::string reason_for_refusal(SSL_CTX& context, const std::vector<x509_ptr>& authorities) {
  const x509_store_ptr trusted(X509_STORE_new());
  const x509_store_ctx_ptr check(X509_STORE_CTX_new());
  if (!trusted || !check || X509_STORE_set_flags(trusted.get(), X509_V_FLAG_PARTIAL_CHAIN) != 1)
    return {};
  for (const auto& authority : authorities)
    X509_STORE_add_cert(trusted.get(), authority.get());
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(&context, &chain);
  auto* const own = SSL_CTX_get0_certificate(&context);
  std::string out;
  if (X509_STORE_CTX_init(check.get(), trusted.get(), own, chain) == 1 &&
      X509_STORE_CTX_set_default(check.get(), "ssl_server") == 1) {
    // Clients with the same OpenSSL release have the same limits for keys and hashes.
    X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(check.get()),
                                     SSL_CTX_get_security_level(&context));
    if (X509_verify_cert(check.get()) != 1)
      out = X509_verify_cert_error_string(X509_STORE_CTX_get_error(check.get()));
  }
  ERR_clear_error();
  return out;
}

void warn_of_certificate(SSL_CTX& context, const std::string& directory,
                         const std::vector<x509_ptr>& authorities, bool is_authority_expired) {
  const auto path = directory + "/server-cert.pem";
  const auto* const end = X509_get0_notAfter(SSL_CTX_get0_certificate(&context));
  if (is_past(end))
    log().warn("{}: expired on {}: clients will reject it; issue a new one", path, date_of(end));
  else if (is_authority_expired)
    return;
  else if (const auto reason =
               authorities.empty() ? std::string() : reason_for_refusal(context, authorities);
           !reason.empty())
    log().warn("{}: clients with this ca-cert.pem will reject it: {}", path, reason);
  else if (ends_soon(end))
    log().warn("{}: expires on {}; issue a new one", path, date_of(end));
}

/// OpenSSL refuses a client's certificate without a valid revocation list of the issuing CA.
void warn_of_revocation_lists(const std::string& directory,
                              const std::vector<x509_ptr>& authorities) {
  const auto path = directory + "/ca-crl.pem";
  const auto lists = read_revocation_lists(path);
  bool has_match = lists.empty();
  for (const auto& list : lists) {
    const auto is_issuer = [&](const x509_ptr& authority) {
      return is_issued_by(*list, authority);
    };
    if (std::ranges::none_of(authorities, is_issuer)) continue;
    has_match = true;
    const auto* const begin = X509_CRL_get0_lastUpdate(list.get());
    const auto* const end = X509_CRL_get0_nextUpdate(list.get());
    constexpr std::string_view effect = "all clients with its CA's certificates are refused until";
    if (is_past(end))
      log().warn("{}: expired on {}: {} the CA issues a new list", path, date_of(end), effect);
    else if (is_future(begin))
      log().warn("{}: not valid before {}: {} then; is the clock right?", path, date_of(begin),
                 effect);
  }
  if (!has_match)
    log().warn("{}: no list of a CA in ca-cert.pem: all clients are refused; is it of another CA?",
               path);
}

}  // namespace

void check_certificates(SSL_CTX& context, const std::string& directory, bool verify_peer) {
  const auto authority_path = directory + "/ca-cert.pem";
  const auto authorities = read_certificates(authority_path);
  const bool is_authority_expired = warn_of_authority(authorities, authority_path, verify_peer);
  warn_of_certificate(context, directory, authorities, is_authority_expired);
  if (verify_peer) warn_of_revocation_lists(directory, authorities);
}

}  // namespace xenpv::nbd
