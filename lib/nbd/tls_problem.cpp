#include "nbd/tls_problem.hpp"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/sslerr.h>

#include "base/shell_quote.hpp"
#include "base/utf8.hpp"
#include "nbd/openssl.hpp"

namespace xenpv::nbd {
namespace {

constexpr std::size_t longest_shown_user = 256;

std::string reason_of(unsigned long code) {
  if (code == 0) return "the connection was lost";
  const char* const reason = ERR_reason_error_string(code);
  return reason == nullptr ? fmt::format("OpenSSL error {:#x}", code) : std::string(reason);
}

/// For a client that named a user: either the user or the key is wrong. The command does not
/// contain the name, which could be any text: users copy commands.
std::string key_remedy(const tls_problem_facts& facts) {
  const auto user = printable_name(facts.asked_user);
  if (!facts.user_known)
    return fmt::format(
        "no user '{}' in {}; add users with psktool -u USER -p {}, then reload or restart the "
        "server",
        user, facts.source, shell_quote(facts.source));
  return fmt::format("the client's key for user '{}' is not the one in {}", user, facts.source);
}

/// Explains `facts.verify_result`, the result of verifying the client's certificate.
std::string certificate_remedy(const tls_problem_facts& facts) {
  const auto* const reason = X509_verify_cert_error_string(facts.verify_result);
  switch (facts.verify_result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return fmt::format("the client's certificate: {}; issue a new one, or set the clock", reason);
    case X509_V_ERR_CERT_REVOKED:
      return fmt::format("the client's certificate: revoked by {}/ca-crl.pem", facts.source);
    case X509_V_ERR_CRL_HAS_EXPIRED:
    case X509_V_ERR_CRL_NOT_YET_VALID:
    case X509_V_ERR_UNABLE_TO_GET_CRL:
      return fmt::format("{}/ca-crl.pem: {}; have the CA issue a new one", facts.source, reason);
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_CA_KEY_TOO_SMALL:
      return fmt::format(
          "the client's certificate: {}; issue one with RSA of 2048 bits or more, or ECDSA",
          reason);
    case X509_V_ERR_CA_MD_TOO_WEAK:
      return fmt::format("the client's certificate: {}; issue one that is signed with SHA-256",
                         reason);
    case X509_V_ERR_INVALID_PURPOSE:
      return "the client's certificate was not issued for a TLS client (tls_www_client)";
    default:
      return fmt::format("the client's certificate: {}; it must be signed by {}/ca-cert.pem",
                         reason, facts.source);
  }
}

/// Explains an alert with which the client rejected the server's certificate.
std::string refusal_remedy(int reason, std::string_view source) {
  switch (reason) {
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      return fmt::format(
          "the client does not trust the CA of {}/server-cert.pem; install that ca-cert.pem on the "
          "client",
          source);
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      return fmt::format("the client reports that {}/server-cert.pem expired; issue a new one",
                         source);
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
      return fmt::format("the client reports that {}/server-cert.pem is revoked", source);
    default:
      return fmt::format(
          "the client rejects {}/server-cert.pem; does it use a server name that is in that "
          "certificate, and does it have the ca-cert.pem that signed it?",
          source);
  }
}

std::string remedy_for(const tls_problem_facts& facts) {
  const int reason = ERR_GET_REASON(facts.code);
  if (facts.has_keys && !facts.asked_user.empty()) return key_remedy(facts);
  switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_UNEXPECTED_MESSAGE:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_LENGTH_MISMATCH:
      return "the client does not use TLS";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
      return "TLS 1.2 or newer is required";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return fmt::format("clients need a certificate signed by {}/ca-cert.pem", facts.source);
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
      return certificate_remedy(facts);
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:  // caused by a different CA with the same name
      return refusal_remedy(reason, facts.source);
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
      return facts.has_keys
                 ? fmt::format("the client does not offer a key; it needs the key of a user in {}",
                               facts.source)
                 : "the client does not accept this kind of certificate; is it set up for "
                   "pre-shared keys?";
    default:
      return {};
  }
}

}  // namespace

std::string describe_tls_problem(const tls_problem_facts& facts) {
  auto out =
      fmt::format("{}: {}", facts.in_handshake ? "TLS handshake" : "TLS", reason_of(facts.code));
  const auto remedy = facts.in_handshake ? remedy_for(facts) : std::string();
  if (!remedy.empty()) out += fmt::format(" ({})", remedy);
  return out;
}

std::string printable_name(std::string_view name) {
  return printable(name, longest_shown_user);
}

std::string explain_weakness(int reason, int security_level) {
  constexpr std::string_view longer = "RSA of 2048 bits or more, or ECDSA";
  switch (reason) {
    case SSL_R_EE_KEY_TOO_SMALL:
      return fmt::format(
          "its key is too short for OpenSSL's security level {}; issue a certificate with {}",
          security_level, longer);
    case SSL_R_CA_KEY_TOO_SMALL:
      return fmt::format(
          "the key of an issuer in it is too short for OpenSSL's security level {}; the CA needs "
          "{}",
          security_level, longer);
    case SSL_R_CA_MD_TOO_WEAK:
      return fmt::format(
          "it is signed with a hash that is too weak for OpenSSL's security level {}, such as "
          "SHA-1; "
          "issue a certificate that is signed with SHA-256",
          security_level);
    default:
      return {};
  }
}

std::string subject_of(const X509& certificate) {
  const bio_ptr text(BIO_new(BIO_s_mem()));
  if (!text) return {};
  // This function escapes control characters and non-ASCII characters.
  X509_NAME_print_ex(text.get(), X509_get_subject_name(&certificate), 0, XN_FLAG_RFC2253);
  const char* bytes = nullptr;
  const auto size = BIO_get_mem_data(text.get(), &bytes);
  return size > 0 ? std::string(bytes, static_cast<std::size_t>(size)) : std::string();
}

}  // namespace xenpv::nbd
