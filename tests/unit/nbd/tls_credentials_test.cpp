// Keys and certificates are read at start; errors in them are reported at start, with the file
// name.
#include "xenpv/nbd/tls_credentials.hpp"

#include <gmock/gmock.h>
#include <openssl/pem.h>

#include <ctime>
#include <filesystem>

#include "tls_pki.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

using test::tls_pki;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// Returns the message that `function` throws, with the directory name replaced by DIR.
template <class Function>
std::string refusal(const tls_pki& pki, Function function) {
  try {
    (void)function();
  } catch (const failure& problem) {
    std::string text = problem.what();
    for (auto position = text.find(pki.directory()); position != std::string::npos;
         position = text.find(pki.directory()))
      text.replace(position, pki.directory().size(), "DIR");
    return text;
  }
  return "nothing";
}

std::string refusal_of_certificates(const tls_pki& pki, bool verify_peer = false) {
  return refusal(pki,
                 [&] { return tls_credentials::from_certificates(pki.directory(), verify_peer); });
}
std::string refusal_of_keys(const tls_pki& pki) {
  return refusal(pki, [&] { return tls_credentials::from_psk_file(pki.path("keys.psk")); });
}

std::string warnings_of_certificates(const tls_pki& pki, bool verify_peer = false) {
  testing::internal::CaptureStderr();
  (void)tls_credentials::from_certificates(pki.directory(), verify_peer);
  return testing::internal::GetCapturedStderr();
}

/// "2026-11-29", in UTC.
std::string date_in(int days) {
  const auto moment = std::time(nullptr) + days * 24L * 60 * 60;
  std::tm parts{};
  ::gmtime_r(&moment, &parts);
  char text[16];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d", &parts)};
}

TEST(tls_credentials, accepts_valid_certificates_without_warnings) {
  const tls_pki pki;
  EXPECT_EQ(warnings_of_certificates(pki), "");
  EXPECT_EQ(refusal_of_certificates(pki, true), "nothing");
}

TEST(tls_credentials, reports_a_missing_file) {
  for (const std::string name : {"server-cert.pem", "server-key.pem"}) {
    const tls_pki pki;
    std::filesystem::remove(pki.path(name));
    EXPECT_EQ(refusal_of_certificates(pki),
              "read DIR/" + name +
                  ": no such file or directory (the directory must contain server-cert.pem and "
                  "server-key.pem)");
  }
}

TEST(tls_credentials, needs_the_authority_only_to_verify_clients) {
  const tls_pki pki;
  std::filesystem::remove(pki.path("ca-cert.pem"));
  EXPECT_EQ(refusal_of_certificates(pki), "nothing");
  EXPECT_EQ(refusal_of_certificates(pki, true),
            "read DIR/ca-cert.pem: no such file or directory (it is required to verify client "
            "certificates)");
}

TEST(tls_credentials, reports_a_file_that_is_not_pem) {
  const tls_pki pki;
  for (const std::string name :
       {"ca-crl.pem", "ca-cert.pem", "server-key.pem", "server-cert.pem"}) {
    pki.write(name, "-----BEGIN NOTHING-----\n");
    EXPECT_THAT(refusal_of_certificates(pki, true), StartsWith("DIR/" + name + ": no ")) << name;
  }
}

TEST(tls_credentials, refuses_a_key_of_another_certificate) {
  tls_pki pki;
  std::filesystem::copy_file(pki.path("client-key.pem"), pki.path("server-key.pem"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(refusal_of_certificates(pki), "DIR/server-key.pem: does not match server-cert.pem");
}

TEST(tls_credentials, refuses_a_key_of_another_type) {
  const tls_pki pki;
  const test::key_ptr key(EVP_RSA_gen(2048));
  const bio_ptr file(BIO_new_file(pki.path("server-key.pem").c_str(), "w"));
  PEM_write_bio_PrivateKey(file.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  BIO_flush(file.get());
  EXPECT_EQ(refusal_of_certificates(pki), "DIR/server-key.pem: does not match server-cert.pem");
}

TEST(tls_credentials, refuses_a_key_with_a_passphrase) {
  const tls_pki pki;
  pki.lock_key("server");
  EXPECT_EQ(refusal_of_certificates(pki),
            "DIR/server-key.pem: it has a passphrase; remove it with openssl pkey -in FILE "
            "-out server-key.pem");
}

TEST(tls_credentials, warns_of_a_key_that_others_can_read) {
  const tls_pki pki;
  const auto name = pki.path("server-key.pem");
  for (const auto mode : {0640, 0604}) {
    std::filesystem::permissions(name, static_cast<std::filesystem::perms>(mode));
    EXPECT_EQ(warnings_of_certificates(pki),
              "xenpv: warning: " + name + ": readable by other users; run chmod 600\n");
  }
}

TEST(tls_credentials, warns_of_certificates_that_clients_will_reject) {
  tls_pki pki;
  const auto begin = "xenpv: warning: " + pki.directory() +
                     "/server-cert.pem: clients with this ca-cert.pem will reject it: ";
  pki.issue("server", {"localhost", "serverAuth", -10, -1});
  EXPECT_EQ(warnings_of_certificates(pki), "xenpv: warning: " + pki.directory() +
                                               "/server-cert.pem: expired on " + date_in(-1) +
                                               ": clients will reject it; issue a new one\n");
  pki.issue("server", {"localhost", "serverAuth", 1, 30});
  EXPECT_EQ(warnings_of_certificates(pki), begin + "certificate is not yet valid\n");
  pki.issue("server", {"localhost", "clientAuth"});
  EXPECT_THAT(warnings_of_certificates(pki), HasSubstr(begin));
  const tls_pki other;
  pki.issue("server", {});
  std::filesystem::copy_file(other.path("ca-cert.pem"), pki.path("ca-cert.pem"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(warnings_of_certificates(pki), HasSubstr(begin));
}

TEST(tls_credentials, refuses_a_weak_certificate_and_says_what_to_issue) {
  tls_pki pki;
  pki.issue("server", {.rsa_bits = 1024});
  EXPECT_EQ(refusal_of_certificates(pki),
            "DIR/server-cert.pem: its key is too short for OpenSSL's security level 2; issue a "
            "certificate with RSA of 2048 bits or more, or ECDSA");
  pki.issue("server", {.with_sha1 = true});
  const auto refused = refusal_of_certificates(pki);
  // Recent versions of OpenSSL (3.5.9) leave this check to the clients.
  if (refused == "nothing")
    EXPECT_EQ(warnings_of_certificates(pki),
              "xenpv: warning: " + pki.path("server-cert.pem") +
                  ": clients with this ca-cert.pem will reject it: CA signature digest algorithm "
                  "too weak\n");
  else
    EXPECT_EQ(refused,
              "DIR/server-cert.pem: it is signed with a hash that is too weak for OpenSSL's "
              "security level 2, such as SHA-1; issue a certificate that is signed with SHA-256");
  pki.issue("server", {.rsa_bits = 2048});
  EXPECT_EQ(refusal_of_certificates(pki), "nothing");
}

TEST(tls_credentials, warns_two_weeks_before_a_certificate_expires) {
  tls_pki pki;
  pki.issue("server", {.last_day = 13});
  EXPECT_EQ(warnings_of_certificates(pki), "xenpv: warning: " + pki.directory() +
                                               "/server-cert.pem: expires on " + date_in(13) +
                                               "; issue a new one\n");
  pki.issue("server", {.last_day = 15});
  EXPECT_EQ(warnings_of_certificates(pki), "");
}

TEST(tls_credentials, warns_once_of_a_ca_that_has_expired_or_will) {
  const tls_pki expired("old CA", false, -1);
  const auto begin = "xenpv: warning: " + expired.directory() + "/ca-cert.pem: the certificate of ";
  EXPECT_EQ(warnings_of_certificates(expired),
            begin + "CN=old CA expired on " + date_in(-1) + "; renew it\n");
  EXPECT_EQ(warnings_of_certificates(expired, true),
            begin + "CN=old CA expired on " + date_in(-1) +
                ": clients with its certificates are refused; renew it\n");
  const tls_pki ending("CA", false, 13);
  EXPECT_EQ(warnings_of_certificates(ending), "xenpv: warning: " + ending.directory() +
                                                  "/ca-cert.pem: the certificate of CN=CA expires "
                                                  "on " +
                                                  date_in(13) + "; renew it\n");
}

TEST(tls_credentials, warns_of_a_revocation_list_that_locks_all_clients_out) {
  tls_pki pki;
  const auto begin = "xenpv: warning: " + pki.path("ca-crl.pem") + ": ";
  pki.revoke({});
  EXPECT_EQ(warnings_of_certificates(pki, true), "");
  pki.revoke({}, -1);
  EXPECT_EQ(warnings_of_certificates(pki, true),
            begin + "expired on " + date_in(-1) +
                ": all clients with its CA's certificates are refused until the CA issues a new "
                "list\n");
  EXPECT_EQ(warnings_of_certificates(pki, false), "") << "the list is not used";
  pki.revoke({}, 30, 2);
  EXPECT_EQ(warnings_of_certificates(pki, true),
            begin + "not valid before " + date_in(2) +
                ": all clients with its CA's certificates are refused until then; is the clock "
                "right?\n");
  tls_pki other("another CA");
  other.revoke({});
  std::filesystem::copy_file(other.path("ca-crl.pem"), pki.path("ca-crl.pem"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(
      warnings_of_certificates(pki, true),
      begin + "no list of a CA in ca-cert.pem: all clients are refused; is it of another CA?\n");
}

TEST(tls_credentials, can_be_read_again_and_keep_the_old_ones_valid) {
  const tls_pki pki;
  const auto old = tls_credentials::from_certificates(pki.directory(), true);
  pki.write("server-key.pem", "broken");
  EXPECT_THAT(refusal_of_certificates(pki, true), StartsWith("DIR/server-key.pem: no "));
  EXPECT_TRUE(old->users().empty());
}

TEST(tls_credentials, lists_the_users_of_a_key_file) {
  const tls_pki pki;
  pki.write("keys.psk",
            "bob:" + test::hexadecimal_key('1') + "\nalice:" + test::hexadecimal_key('2') + "\n");
  const auto made = tls_credentials::from_psk_file(pki.path("keys.psk"));
  EXPECT_THAT(made->users(), ElementsAre("bob", "alice"));
  EXPECT_TRUE(tls_credentials::from_certificates(pki.directory(), false)->users().empty());
}

TEST(tls_credentials, reports_the_file_and_line_of_an_invalid_key) {
  const tls_pki pki;
  EXPECT_EQ(refusal_of_keys(pki),
            "read DIR/keys.psk: no such file or directory (psktool -u USER -p DIR/keys.psk creates "
            "it)");
  pki.write("keys.psk", "");
  EXPECT_EQ(refusal_of_keys(pki),
            "DIR/keys.psk: invalid argument (no users; add one with psktool -u USER -p "
            "DIR/keys.psk)");
  pki.write("keys.psk", "bob:12");
  EXPECT_EQ(refusal_of_keys(pki),
            "DIR/keys.psk:1: invalid argument (the key is shorter than 16 bytes (32 hexadecimal "
            "digits))");
  EXPECT_THAT(refusal(pki, [&] { return tls_credentials::from_psk_file(pki.directory()); }),
              StartsWith("read DIR: is a directory"));
}

TEST(tls_credentials, warns_of_a_key_file_that_others_can_read) {
  const tls_pki pki;
  pki.write("keys.psk", "bob:" + test::hexadecimal_key('1'));
  std::filesystem::permissions(pki.path("keys.psk"), std::filesystem::perms(0644));
  testing::internal::CaptureStderr();
  (void)tls_credentials::from_psk_file(pki.path("keys.psk"));
  EXPECT_EQ(
      testing::internal::GetCapturedStderr(),
      "xenpv: warning: " + pki.path("keys.psk") + ": readable by other users; run chmod 600\n");
}

}  // namespace
}  // namespace xenpv::nbd
