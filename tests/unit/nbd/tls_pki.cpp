#include "tls_pki.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace xenpv::nbd::test {
namespace {

constexpr long day = 24 * 60 * 60;

void require(bool done, const char* operation) {
  if (!done) throw std::runtime_error(operation);
}

bio_ptr open_file(const std::string& path) {
  bio_ptr out(BIO_new_file(path.c_str(), "w"));
  require(out != nullptr, "open a file in the directory");
  return out;
}

void add_extension(X509& certificate, X509* issuer, int type, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, &certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, openssl_deleter<X509_EXTENSION_free>> made(
      X509V3_EXT_conf_nid(nullptr, &context, type, value));
  require(made && X509_add_ext(&certificate, made.get(), -1) == 1, value);
}

}  // namespace

tls_pki::tls_pki(const std::string& name, bool is_intermediate, long last_day)
    : directory_((std::filesystem::temp_directory_path() / "xenpv-pki-XXXXXX").string()),
      authority_key_(EVP_EC_gen("P-256")) {
  require(::mkdtemp(directory_.data()) != nullptr, "mkdtemp");
  if (is_intermediate) {
    const key_ptr root_key(EVP_EC_gen("P-256"));
    const auto root = make({"root", "CA"}, *root_key, nullptr, *root_key);
    authority_ = make({name, "CA", -1, last_day}, *authority_key_, root.get(), *root_key);
  } else {
    authority_ = make({name, "CA", -1, last_day}, *authority_key_, nullptr, *authority_key_);
  }
  PEM_write_bio_X509(open_file(path("ca-cert.pem")).get(), authority_.get());
  issue("server", {});
  issue("client", {"client.example", "clientAuth"});
}

tls_pki::~tls_pki() {
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

std::string tls_pki::path(std::string_view name) const {
  return directory_ + "/" + std::string(name);
}

x509_ptr tls_pki::make(const certificate_options& options, EVP_PKEY& key, X509* issuer,
                       EVP_PKEY& issuer_key) {
  x509_ptr out(X509_new());
  auto& made = *out;
  X509_set_version(&made, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(&made), next_serial_++);
  X509_gmtime_adj(X509_getm_notBefore(&made), std::min(options.first_day, options.last_day) * day);
  X509_gmtime_adj(X509_getm_notAfter(&made), options.last_day * day);
  auto* const name = X509_get_subject_name(&made);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(options.name.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(&made, X509_get_subject_name(issuer == nullptr ? &made : issuer));
  X509_set_pubkey(&made, &key);
  auto* const signer = issuer == nullptr ? &made : issuer;
  if (options.purpose == "CA") {
    add_extension(made, signer, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(made, signer, NID_key_usage, "critical,keyCertSign,cRLSign");
  } else {
    add_extension(made, signer, NID_ext_key_usage, options.purpose.c_str());
    add_extension(made, signer, NID_subject_alt_name, ("DNS:" + options.name).c_str());
  }
  const auto* const digest = options.with_sha1 ? EVP_sha1() : EVP_sha256();
  require(X509_sign(&made, &issuer_key, digest) > 0, "sign a certificate");
  return out;
}

void tls_pki::issue(const std::string& owner, const certificate_options& options) {
  const key_ptr key(options.rsa_bits == 0 ? EVP_EC_gen("P-256") : EVP_RSA_gen(options.rsa_bits));
  serials_.emplace_back(owner, next_serial_);
  const auto made = make(options, *key, authority_.get(), *authority_key_);
  PEM_write_bio_X509(open_file(path(owner + "-cert.pem")).get(), made.get());
  PEM_write_bio_PrivateKey(open_file(path(owner + "-key.pem")).get(), key.get(), nullptr, nullptr,
                           0, nullptr, nullptr);
  std::filesystem::permissions(path(owner + "-key.pem"), std::filesystem::perms(0600));
}

void tls_pki::revoke(const std::vector<std::string>& owners, long last_day, long first_day) {
  const std::unique_ptr<X509_CRL, openssl_deleter<X509_CRL_free>> list(X509_CRL_new());
  X509_CRL_set_version(list.get(), X509_CRL_VERSION_2);
  X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(authority_.get()));
  const std::unique_ptr<ASN1_TIME, openssl_deleter<ASN1_TIME_free>> time(ASN1_TIME_new());
  X509_CRL_set1_lastUpdate(list.get(), X509_gmtime_adj(time.get(), first_day * day));
  X509_CRL_set1_nextUpdate(list.get(), X509_gmtime_adj(time.get(), last_day * day));
  for (const auto& [name, serial] : serials_) {
    if (std::find(owners.begin(), owners.end(), name) == owners.end()) continue;
    auto* const entry = X509_REVOKED_new();
    const std::unique_ptr<ASN1_INTEGER, openssl_deleter<ASN1_INTEGER_free>> number(
        ASN1_INTEGER_new());
    ASN1_INTEGER_set(number.get(), serial);
    X509_REVOKED_set_serialNumber(entry, number.get());
    X509_REVOKED_set_revocationDate(entry, X509_gmtime_adj(time.get(), -day));
    X509_CRL_add0_revoked(list.get(), entry);
  }
  require(X509_CRL_sign(list.get(), authority_key_.get(), EVP_sha256()) > 0, "sign the list");
  PEM_write_bio_X509_CRL(open_file(path("ca-crl.pem")).get(), list.get());
}

void tls_pki::write(std::string_view name, std::string_view text) const {
  std::ofstream(path(name), std::ios::trunc) << text;
  std::filesystem::permissions(path(name), std::filesystem::perms(0600));
}

void tls_pki::lock_key(const std::string& owner) const {
  const auto file = path(owner + "-key.pem");
  const bio_ptr in(BIO_new_file(file.c_str(), "r"));
  const key_ptr key(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr));
  unsigned char passphrase[] = "secret";
  require(key && PEM_write_bio_PrivateKey(open_file(file).get(), key.get(), EVP_aes_128_cbc(),
                                          passphrase, 6, nullptr, nullptr) == 1,
          "encrypt a key");
}

std::string hexadecimal_key(char fill, std::size_t size) {
  return std::string(2 * size, fill);
}

}  // namespace xenpv::nbd::test
