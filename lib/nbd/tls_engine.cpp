#include "nbd/tls_engine.hpp"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/sslerr.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "nbd/tls_context.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

constexpr std::size_t largest_record = SSL3_RT_MAX_PLAIN_LENGTH;
/// Space for several records, so that one read receives a client's batch of requests.
constexpr std::size_t input_size = std::size_t{64} << 10;
/// TLS itself generates replies, for example to KeyUpdate, which are sent with the next write. This
/// limit stops a client that keeps requesting such replies without reading them.
constexpr std::size_t most_unsent = std::size_t{64} << 10;

/// Returns the last error in OpenSSL's queue, which describes the TLS failure; the earlier errors
/// are its causes. Skips the additional last error of newer OpenSSL versions, which only states
/// that a record failed.
unsigned long take_reason() {
  unsigned long out = 0;
  while (const auto code = ERR_get_error()) {
#ifdef SSL_R_RECORD_LAYER_FAILURE
    if (out != 0 && ERR_GET_LIB(code) == ERR_LIB_SSL &&
        ERR_GET_REASON(code) == SSL_R_RECORD_LAYER_FAILURE)
      continue;
#endif
    out = code;
  }
  return out;
}

tls_engine& engine_of(BIO* bio) {
  return *static_cast<tls_engine*>(BIO_get_data(bio));
}

}  // namespace

tls_engine::tls_engine(std::shared_ptr<const tls_credentials> credentials)
    : credentials_(std::move(credentials)),
      transport_(make_transport()),
      ssl_(SSL_new(credentials_->in_openssl().openssl.get())),
      input_(input_size) {
  bio_ptr bio(transport_ ? BIO_new(transport_.get()) : nullptr);
  if (!bio || !ssl_) throw failure(make_error_code(errc::not_available), "set up a TLS connection");
  BIO_set_data(bio.get(), this);
  BIO_set_init(bio.get(), 1);
  auto* const owned = bio.release();
  SSL_set_bio(ssl_.get(), owned, owned);
  SSL_set_app_data(ssl_.get(), this);
  SSL_set_accept_state(ssl_.get());
  record_.reserve(largest_record);
}

tls_engine::status tls_engine::shake_hands() {
  // After a failure, OpenSSL 3.2 and later would start to read again.
  if (!problem_.empty()) return status::failed;
  ERR_clear_error();
  const auto out = status_of(SSL_do_handshake(ssl_.get()));
  established_ = out == status::done;
  return out;
}

tls_engine::read_result tls_engine::read(std::span<std::byte> buffer) {
  read_result out;
  if (problem_.empty() && output_.size() > most_unsent)
    problem_ = "TLS: the client keeps requesting key updates but does not read replies";
  if (!problem_.empty()) {
    out.then = status::failed;
    return out;
  }
  while (out.count < buffer.size()) {
    ERR_clear_error();
    std::size_t count = 0;
    const int returned =
        SSL_read_ex(ssl_.get(), buffer.data() + out.count, buffer.size() - out.count, &count);
    out.count += count;
    if (returned == 1) continue;
    out.then = status_of(returned);
    break;
  }
  return out;
}

bool tls_engine::write(std::span<const std::byte> plaintext) {
  while (!plaintext.empty()) {
    if (record_.empty() && plaintext.size() >= largest_record) {
      const auto whole = plaintext.first(plaintext.size() / largest_record * largest_record);
      if (!encrypt(whole)) return false;
      plaintext = plaintext.subspan(whole.size());
      continue;
    }
    const auto part = plaintext.first(std::min(plaintext.size(), largest_record - record_.size()));
    record_.insert(record_.end(), part.begin(), part.end());
    plaintext = plaintext.subspan(part.size());
    if (record_.size() == largest_record && !end_write()) return false;
  }
  return true;
}

bool tls_engine::end_write() {
  if (record_.empty()) return true;
  const bool done = encrypt(record_);
  record_.clear();
  return done;
}

bool tls_engine::encrypt(std::span<const std::byte> plaintext) {
  if (!problem_.empty()) return false;
  ERR_clear_error();
  std::size_t written = 0;
  if (SSL_write_ex(ssl_.get(), plaintext.data(), plaintext.size(), &written) == 1) return true;
  // An actual failure: the transport never asks for a retry.
  fail();
  return false;
}

void tls_engine::say_goodbye() {
  if (!established_ || close_notify_sent_ || !problem_.empty()) return;
  close_notify_sent_ = true;
  ERR_clear_error();
  (void)SSL_shutdown(ssl_.get());
}

std::span<std::byte> tls_engine::input_space() {
  if (input_begin_ > 0) {
    std::memmove(input_.data(), input_.data() + input_begin_, input_end_ - input_begin_);
    input_end_ -= std::exchange(input_begin_, 0);
  }
  // OpenSSL consumes all input before it requests more.
  return std::span(input_).subspan(input_end_);
}

tls_engine::status tls_engine::status_of(int returned) {
  switch (SSL_get_error(ssl_.get(), returned)) {
    case SSL_ERROR_NONE:
      return status::done;
    case SSL_ERROR_WANT_READ:
      return status::needs_input;
    case SSL_ERROR_ZERO_RETURN:
      return status::ended;
    default:
      fail();
      return status::failed;
  }
}

void tls_engine::fail() {
  if (!problem_.empty()) return;
  if (out_of_memory_) {
    ERR_clear_error();
    problem_ = established_ ? "TLS: out of memory" : "TLS handshake: out of memory";
    return;
  }
  tls_problem_facts facts;
  facts.code = take_reason();
  facts.source = credentials_->in_openssl().source;
  facts.has_keys = credentials_->in_openssl().has_keys;
  facts.in_handshake = !established_;
  facts.asked_user = asked_user_;
  facts.user_known = user_known_;
  facts.verify_result = SSL_get_verify_result(ssl_.get());
  problem_ = describe_tls_problem(facts);
}

std::string tls_engine::explain_hang_up() const {
  const auto& context = credentials_->in_openssl();
  const auto* const summary = established_ ? "the client disconnected right after the TLS handshake"
                                           : "the client disconnected during the TLS handshake";
  // The client has received the certificate once the server has sent its first reply.
  if (context.has_keys || SSL_get_state(ssl_.get()) == TLS_ST_BEFORE) return summary;
  const auto* const own = SSL_get_certificate(ssl_.get());
  if (own != nullptr && X509_cmp_current_time(X509_get0_notAfter(own)) < 0)
    return fmt::format("{} ({}/server-cert.pem has expired; issue a new one)", summary,
                       context.source);
  return fmt::format(
      "{} (does it have the ca-cert.pem that signed {}/server-cert.pem, and does it use a server "
      "name that is in that certificate?)",
      summary, context.source);
}

std::string tls_engine::protocol() const {
  if (!established_) return {};
  return fmt::format("{} {}", SSL_get_version(ssl_.get()), SSL_get_cipher_name(ssl_.get()));
}

tls_identity tls_engine::identity() const {
  if (!established_) return {};
  if (!asked_user_.empty()) return {tls_identity::proof::key, asked_user_};
  const auto* const certificate = SSL_get0_peer_certificate(ssl_.get());
  if (certificate == nullptr || SSL_get_verify_result(ssl_.get()) != X509_V_OK) return {};
  return {tls_identity::proof::certificate, subject_of(*certificate)};
}

std::string tls_engine::user() const {
  return printable_name(identity().name);
}

unsigned tls_engine::give_key(SSL* ssl, const char* name, unsigned char* buffer,
                              unsigned size) noexcept {
  auto& self = *static_cast<tls_engine*>(SSL_get_app_data(ssl));
  const auto& keys = self.credentials_->in_openssl().keys;
  try {
    self.asked_user_ = name;
  } catch (const std::bad_alloc&) {
    self.out_of_memory_ = true;
    return 0;
  }
  const auto match = keys.find(self.asked_user_);
  self.user_known_ = match != keys.end() && match->second.size() <= size;
  if (!self.user_known_) return 0;
  std::memcpy(buffer, match->second.data(), match->second.size());
  return static_cast<unsigned>(match->second.size());
}

bio_method_ptr tls_engine::make_transport() {
  bio_method_ptr out(BIO_meth_new(BIO_TYPE_SOURCE_SINK, "xenpv buffers"));
  if (!out) return out;
  BIO_meth_set_read_ex(out.get(), take_input);
  BIO_meth_set_write_ex(out.get(), add_output);
  BIO_meth_set_ctrl(out.get(), control);
  return out;
}

int tls_engine::take_input(BIO* bio, char* buffer, std::size_t size, std::size_t* taken) noexcept {
  auto& self = engine_of(bio);
  BIO_clear_retry_flags(bio);
  *taken = std::min(size, self.input_end_ - self.input_begin_);
  if (*taken == 0) {
    BIO_set_retry_read(bio);
    return 0;
  }
  std::memcpy(buffer, self.input_.data() + self.input_begin_, *taken);
  self.input_begin_ += *taken;
  return 1;
}

int tls_engine::add_output(BIO* bio, const char* data, std::size_t size,
                           std::size_t* added) noexcept {
  auto& self = engine_of(bio);
  BIO_clear_retry_flags(bio);
  const auto bytes = std::as_bytes(std::span(data, size));
  *added = 0;
  try {
    self.output_.insert(self.output_.end(), bytes.begin(), bytes.end());
  } catch (const std::bad_alloc&) {
    self.out_of_memory_ = true;
    return 0;
  }
  *added = size;
  return 1;
}

long tls_engine::control(BIO*, int command, long, void*) noexcept {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

}  // namespace xenpv::nbd
