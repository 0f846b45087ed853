// If memory runs out inside a function that OpenSSL called, the handshake fails and nothing is
// thrown through OpenSSL.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "bytes.hpp"
#include "tls_client.hpp"

namespace {

/// Allocations of at least this size fail on this thread. The largest value: all succeed.
thread_local std::size_t smallest_failure = ~std::size_t{0};

void* allocate(std::size_t size) {
  if (size >= smallest_failure) throw std::bad_alloc();
  if (void* const out = std::malloc(size == 0 ? 1 : size)) return out;
  throw std::bad_alloc();
}

}  // namespace

// Replaced in the whole program. Callers outside of this file see no difference.
void* operator new(std::size_t size) {
  return allocate(size);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace xenpv::nbd {
namespace {

using namespace test;

/// Lets allocations fail while it exists.
class shortage {
 public:
  explicit shortage(std::size_t smallest) { smallest_failure = smallest; }
  ~shortage() { smallest_failure = ~std::size_t{0}; }
  shortage(const shortage&) = delete;
  shortage& operator=(const shortage&) = delete;
};

class tls_out_of_memory : public testing::Test {
 protected:
  tls_out_of_memory() {
    pki.write("keys.psk", name + ":" + hexadecimal_key('1'));
    credentials = tls_credentials::from_psk_file(pki.path("keys.psk"));
  }
  [[nodiscard]] tls_client_options options() const {
    tls_client_options out;
    out.user = name;
    out.key = unhex(hexadecimal_key('1'));
    return out;
  }
  /// Returns the status of a handshake in which allocations of `smallest` bytes and more fail.
  static tls_engine::status shake_hands(tls_engine& engine, tls_client& client,
                                        std::size_t smallest) {
    (void)SSL_do_handshake(client.ssl());
    client.exchange(engine);
    const shortage short_of_memory(smallest);
    return engine.shake_hands();
  }

  const std::string name = std::string(200, 'x');
  tls_pki pki;
  std::shared_ptr<const tls_credentials> credentials;
};

TEST_F(tls_out_of_memory, fails_the_handshake_if_the_users_name_cannot_be_copied) {
  tls_engine engine(credentials);
  tls_client client(options());
  EXPECT_EQ(shake_hands(engine, client, name.size()), tls_engine::status::failed);
  EXPECT_EQ(engine.problem(), "TLS handshake: out of memory");
  EXPECT_EQ(engine.identity(), tls_identity{});
}

TEST_F(tls_out_of_memory, fails_the_handshake_if_the_reply_cannot_be_stored) {
  tls_client_options anonymous;
  tls_engine engine(tls_credentials::from_certificates(pki.directory(), false));
  tls_client client(anonymous);
  EXPECT_EQ(shake_hands(engine, client, 64), tls_engine::status::failed);
  EXPECT_EQ(engine.problem(), "TLS handshake: out of memory");
}

TEST_F(tls_out_of_memory, fails_a_write_whose_records_cannot_be_stored) {
  tls_engine engine(credentials);
  tls_client client(options());
  ASSERT_TRUE(client.shake_hands(engine)) << engine.problem();
  const std::string data(64000, 'x');
  {
    const shortage short_of_memory(16384);
    EXPECT_FALSE(engine.write(as_bytes(data)));
  }
  EXPECT_EQ(engine.problem(), "TLS: out of memory");
}

}  // namespace
}  // namespace xenpv::nbd
