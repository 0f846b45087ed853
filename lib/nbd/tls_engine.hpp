// The server side of one TLS connection, without I/O: connects OpenSSL to two buffers. The owner
// moves ciphertext between these buffers and the socket, and reads and writes plaintext.
//
// Owned by its tls_stream, on the connection's thread. Independent of sockets and NBD.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nbd/openssl.hpp"
#include "nbd/tls_problem.hpp"
#include "xenpv/nbd/access_list.hpp"
#include "xenpv/nbd/tls_credentials.hpp"

namespace xenpv::nbd {

class tls_engine {
 public:
  enum class status {
    done,
    needs_input,  ///< more data must be put into input_space()
    ended,        ///< the client sent close_notify
    failed,       ///< final: see problem()
  };

  explicit tls_engine(std::shared_ptr<const tls_credentials> credentials);
  tls_engine(const tls_engine&) = delete;
  tls_engine& operator=(const tls_engine&) = delete;

  /// Advances the handshake. output() may contain data regardless of the result.
  [[nodiscard]] status shake_hands();

  struct read_result {
    std::size_t count = 0;
    status then = status::done;  ///< done: `buffer` is full
  };
  /// Reads all available plaintext that fits, from any number of records.
  [[nodiscard]] read_result read(std::span<std::byte> buffer);

  /// Encrypts plaintext into output(), in records that are as full as possible; end_write() ends
  /// the last record. Both return false on failure.
  [[nodiscard]] bool write(std::span<const std::byte> plaintext);
  [[nodiscard]] bool end_write();

  /// Adds close_notify to output(), once. Does nothing before the handshake is complete or after a
  /// failure.
  void say_goodbye();

  /// The buffer for ciphertext from the socket; never empty.
  [[nodiscard]] std::span<std::byte> input_space();
  void input_received(std::size_t count) noexcept { input_end_ += count; }
  /// Ciphertext for the socket. The owner must send and remove all of it.
  [[nodiscard]] std::vector<std::byte>& output() noexcept { return output_; }

  [[nodiscard]] bool is_established() const noexcept { return established_; }
  /// The failure and its remedy, for the log.
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }
  /// Returns possible reasons why the client disconnected during the handshake, or before it sent
  /// any data.
  [[nodiscard]] std::string explain_hang_up() const;
  /// "TLSv1.3 TLS_AES_128_GCM_SHA256"; empty before the handshake is complete.
  [[nodiscard]] std::string protocol() const;
  /// The client's authenticated identity: the user of its key, or the subject of its certificate.
  /// `none` before the handshake is complete, and for an anonymous client.
  [[nodiscard]] tls_identity identity() const;
  /// The name in identity(), safe to display and at most 256 bytes long; empty: anonymous.
  [[nodiscard]] std::string user() const;

  /// Looks up a user's key for OpenSSL (SSL_psk_server_cb_func).
  static unsigned give_key(SSL* ssl, const char* name, unsigned char* buffer,
                           unsigned size) noexcept;
  /// Creates the BIO method of a transport whose data pointer is an engine.
  [[nodiscard]] static bio_method_ptr make_transport();

 private:
  // Called by OpenSSL, whose functions an exception must not cross: on failure, the connection
  // ends.
  static int take_input(BIO* bio, char* buffer, std::size_t size, std::size_t* taken) noexcept;
  static int add_output(BIO* bio, const char* data, std::size_t size, std::size_t* added) noexcept;
  static long control(BIO* bio, int command, long number, void* pointer) noexcept;

  [[nodiscard]] bool encrypt(std::span<const std::byte> plaintext);
  [[nodiscard]] status status_of(int returned);
  void fail();

  std::shared_ptr<const tls_credentials> credentials_;
  bio_method_ptr transport_;
  ssl_ptr ssl_;
  std::vector<std::byte> input_;
  std::size_t input_begin_ = 0;
  std::size_t input_end_ = 0;
  std::vector<std::byte> output_;
  std::vector<std::byte> record_;  ///< plaintext of an incomplete record
  std::string asked_user_;
  bool user_known_ = false;
  bool out_of_memory_ = false;  ///< in a function that OpenSSL called
  bool established_ = false;
  bool close_notify_sent_ = false;
  std::string problem_;
};

}  // namespace xenpv::nbd
