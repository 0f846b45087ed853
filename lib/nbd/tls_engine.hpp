// One TLS connection, the server's side, without I/O: OpenSSL between two buffers. What came from
// the socket is put in, what has to go there is taken out; plaintext goes in and out at the other
// end.
//
// Owned by its tls_stream, on the connection's thread. Knows neither sockets nor NBD.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nbd/openssl.hpp"
#include "nbd/tls_problem.hpp"
#include "xenpv/nbd/tls_credentials.hpp"

namespace xenpv::nbd {

class tls_engine {
 public:
  enum class status {
    done,
    needs_input,  ///< put more into input_space()
    ended,        ///< the client said that nothing more comes
    failed,       ///< for good: see problem()
  };

  explicit tls_engine(std::shared_ptr<const tls_credentials> how);
  tls_engine(const tls_engine&) = delete;
  tls_engine& operator=(const tls_engine&) = delete;

  /// Gets on with the handshake. There may be output() whatever it returns.
  [[nodiscard]] status shake_hands();

  struct read_result {
    std::size_t count = 0;
    status then = status::done;  ///< done: `into` is full
  };
  /// As much plaintext as there is, of as many records as it takes.
  [[nodiscard]] read_result read(std::span<std::byte> into);

  /// Adds plaintext to what goes out, in records as full as can be; end_write() ends the last one.
  /// False: it failed.
  [[nodiscard]] bool write(std::span<const std::byte> from);
  [[nodiscard]] bool end_write();

  /// Tells the client that nothing more comes (close_notify). Once; not before the handshake is
  /// done, nor after a failure.
  void say_goodbye();

  /// Where ciphertext from the socket goes; never empty.
  [[nodiscard]] std::span<std::byte> input_space();
  void input_received(std::size_t count) noexcept { input_end_ += count; }
  /// Ciphertext for the socket, whose owner takes it all.
  [[nodiscard]] std::vector<std::byte>& output() noexcept { return output_; }

  [[nodiscard]] bool is_established() const noexcept { return established_; }
  /// What went wrong and what to do about it, for the log.
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }
  /// Why it may be that the client hung up in the handshake, or before it said anything.
  [[nodiscard]] std::string explain_hang_up() const;
  /// "TLSv1.3 TLS_AES_128_GCM_SHA256"; empty before the handshake is done.
  [[nodiscard]] std::string protocol() const;
  /// Who the client has proved to be: the user of its key, the subject of its certificate; empty
  /// for anybody. Safe to show.
  [[nodiscard]] std::string user() const;

  /// OpenSSL asks for the key of a user (SSL_psk_server_cb_func).
  static unsigned give_key(SSL* ssl, const char* name, unsigned char* into, unsigned size);
  /// A transport whose data pointer is an engine.
  [[nodiscard]] static bio_method_ptr make_transport();

 private:
  static int take_input(BIO* bio, char* into, std::size_t size, std::size_t* taken);
  static int add_output(BIO* bio, const char* from, std::size_t size, std::size_t* added);
  static long control(BIO* bio, int command, long number, void* pointer);

  [[nodiscard]] bool encrypt(std::span<const std::byte> from);
  [[nodiscard]] status judge(int returned);
  void fail();

  std::shared_ptr<const tls_credentials> credentials_;
  bio_method_ptr transport_;
  ssl_ptr ssl_;
  std::vector<std::byte> input_;
  std::size_t input_begin_ = 0;
  std::size_t input_end_ = 0;
  std::vector<std::byte> output_;
  std::vector<std::byte> record_;  ///< plaintext that waits for more of its record
  std::string asked_user_;
  bool user_known_ = false;
  bool established_ = false;
  bool said_goodbye_ = false;
  std::string problem_;
};

}  // namespace xenpv::nbd
