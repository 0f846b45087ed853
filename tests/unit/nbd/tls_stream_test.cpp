// A TLS stream over a socket, as Asio's operations see it.
#include "nbd/tls_stream.hpp"

#include <gmock/gmock.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <optional>

#include "bytes.hpp"
#include "tls_client.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using boost::system::error_code;
using ::testing::AnyOf;
using ::testing::HasSubstr;

/// What an operation has come to.
struct outcome {
  bool ended = false;
  error_code code;
  std::size_t count = 0;

  auto taker() {
    return [this](error_code given, std::size_t size) {
      ended = true;
      code = given;
      count = size;
    };
  }
};

class tls_stream_test : public ::testing::Test {
 protected:
  tls_stream_test() : socket_(context_) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    socket_.assign(asio::generic::stream_protocol(AF_UNIX, 0), ends[0]);
    peer_.reset(ends[1]);
    pki_.write("keys.psk", "alice:" + hexadecimal_key('1'));
    stream_.emplace(socket_, tls_credentials::from_psk_file(pki_.path("keys.psk")));
    client_wishes wishes;
    wishes.user = "alice";
    wishes.key = unhex(hexadecimal_key('1'));
    client_.emplace(wishes);
  }

  /// What the client has for the server goes there.
  void send() {
    const auto bytes = client_->take_output();
    if (!bytes.empty()) {
      EXPECT_EQ(::send(peer_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(bytes.size()));
    }
  }
  /// And back.
  void receive() {
    std::array<char, 65536> bytes;
    for (;;) {
      const auto got = ::recv(peer_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      if (got <= 0) return;
      client_->give_input({bytes.data(), static_cast<std::size_t>(got)});
    }
  }
  /// Lets the server's side run until `done()`, or far too long.
  template <class Condition>
  void run_until(Condition done) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), limit);
      context_.restart();
      context_.run_one_for(std::chrono::seconds(5));
    }
  }
  /// As far as it gets without anything new.
  void run_dry() {
    context_.restart();
    context_.poll();
  }

  /// The handshake's end; what it threw.
  std::string shake_hands() {
    std::optional<std::string> end;
    start_handshake(end);
    while (!end) {
      (void)SSL_do_handshake(client_->ssl());
      send();
      context_.restart();
      context_.run_one_for(std::chrono::seconds(5));
      receive();
    }
    (void)SSL_do_handshake(client_->ssl());
    return *end;
  }
  void start_handshake(std::optional<std::string>& end) {
    asio::co_spawn(context_, async::shield_completion(stream_->shake_hands()),
                   [&](std::exception_ptr error) {
                     end = "";
                     try {
                       if (error) std::rethrow_exception(error);
                     } catch (const std::exception& problem) {
                       end = problem.what();
                     }
                   });
  }

  tls_pki pki_;
  asio::io_context context_{1};
  tls_stream::next_layer_type socket_;
  unique_fd peer_;
  std::optional<tls_stream> stream_;
  std::optional<tls_client> client_;
};

TEST_F(tls_stream_test, reads_all_that_came_in_many_records) {
  ASSERT_EQ(shake_hands(), "");
  std::string all;
  for (int i = 0; i < 100; ++i) {
    client_->write("request " + std::to_string(i));
    all += "request " + std::to_string(i);
  }
  send();
  std::string first(10, '\0');
  std::string second(4096, '\0');
  const std::array<asio::mutable_buffer, 2> into = {asio::buffer(first), asio::buffer(second)};
  outcome read;
  stream_->async_read_some(into, read.taker());
  run_until([&] { return read.ended; });
  EXPECT_FALSE(read.code);
  EXPECT_EQ(first + second.substr(0, read.count - first.size()), all);
}

TEST_F(tls_stream_test, ends_no_read_within_the_call_that_begins_it) {
  ASSERT_EQ(shake_hands(), "");
  client_->write("twelve bytes");
  send();
  std::string bytes(6, '\0');
  for (int half = 0; half < 2; ++half) {
    outcome read;
    stream_->async_read_some(asio::buffer(bytes), read.taker());
    EXPECT_FALSE(read.ended);
    run_until([&] { return read.ended; });
    EXPECT_EQ(read.count, 6U);
  }
  outcome nothing;
  stream_->async_read_some(asio::buffer(bytes.data(), 0), nothing.taker());
  run_until([&] { return nothing.ended; });
  EXPECT_FALSE(nothing.code);
}

TEST_F(tls_stream_test, loses_nothing_when_a_read_is_cancelled) {
  ASSERT_EQ(shake_hands(), "");
  client_->write("the whole of it");
  const auto record = client_->take_output();
  // Not a single byte; a part of a record, which the socket's own read has taken already.
  for (const std::size_t there : {std::size_t{0}, record.size() / 2}) {
    ASSERT_EQ(::send(peer_.get(), record.data(), there, 0), static_cast<ssize_t>(there));
    asio::cancellation_signal signal;
    outcome read;
    std::string bytes(100, '\0');
    stream_->async_read_some(asio::buffer(bytes),
                             asio::bind_cancellation_slot(signal.slot(), read.taker()));
    if (there == 0) run_dry();
    EXPECT_FALSE(read.ended);
    signal.emit(asio::cancellation_type::total);
    run_until([&] { return read.ended; });
    EXPECT_EQ(read.code, asio::error::operation_aborted);
    EXPECT_EQ(read.count, 0U);
  }
  const auto rest = record.substr(record.size() / 2);
  ASSERT_EQ(::send(peer_.get(), rest.data(), rest.size(), 0), static_cast<ssize_t>(rest.size()));
  outcome read;
  std::string bytes(100, '\0');
  stream_->async_read_some(asio::buffer(bytes), read.taker());
  run_until([&] { return read.ended; });
  EXPECT_EQ(bytes.substr(0, read.count), "the whole of it");
}

TEST_F(tls_stream_test, reads_at_once_what_is_there_and_waits_for_nothing) {
  ASSERT_EQ(shake_hands(), "");
  error_code code;
  stream_->non_blocking(true, code);
  std::string bytes(100, '\0');
  EXPECT_EQ(stream_->read_some(asio::buffer(bytes), code), 0U);
  EXPECT_EQ(code, asio::error::would_block);

  client_->write("first, ");
  client_->write("second");
  const auto records = client_->take_output();
  ASSERT_EQ(::send(peer_.get(), records.data(), records.size() - 1, 0),
            static_cast<ssize_t>(records.size() - 1));
  auto count = stream_->read_some(asio::buffer(bytes), code);
  EXPECT_EQ(bytes.substr(0, count), "first, ");
  EXPECT_EQ(stream_->read_some(asio::buffer(bytes), code), 0U);
  EXPECT_EQ(code, asio::error::would_block) << "a part of a record is nothing yet";
  ASSERT_EQ(::send(peer_.get(), &records.back(), 1, 0), 1);
  count = stream_->read_some(asio::buffer(bytes), code);
  EXPECT_FALSE(code);
  EXPECT_EQ(bytes.substr(0, count), "second");

  client_->say_goodbye();
  send();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(stream_->read_some(asio::buffer(bytes), code), 0U);
    EXPECT_EQ(code, asio::error::eof);
  }
}

TEST_F(tls_stream_test, writes_all_of_its_buffers) {
  ASSERT_EQ(shake_hands(), "");
  std::string header = "header";
  std::string data(40'000, 'x');
  const std::array<asio::const_buffer, 3> from = {asio::buffer(header), asio::buffer(data),
                                                  asio::buffer(header)};
  outcome written;
  stream_->async_write_some(from, written.taker());
  EXPECT_FALSE(written.ended);
  run_until([&] { return written.ended; });
  EXPECT_FALSE(written.code);
  EXPECT_EQ(written.count, 40'012U);
  receive();
  EXPECT_EQ(client_->read(), header + data + header);
}

TEST_F(tls_stream_test, takes_a_part_of_what_is_large) {
  ASSERT_EQ(shake_hands(), "");
  std::string header = "header";
  const std::string data(1 << 20, 'x');
  const std::array<asio::const_buffer, 2> from = {asio::buffer(header), asio::buffer(data)};
  outcome written;
  stream_->async_write_some(from, written.taker());
  while (!written.ended) {
    run_dry();
    receive();
  }
  EXPECT_FALSE(written.code);
  EXPECT_EQ(written.count, 256U << 10U);
  EXPECT_EQ(client_->read(), header + data.substr(0, (256U << 10U) - header.size()));
}

TEST_F(tls_stream_test, ends_reading_when_the_client_said_goodbye_and_still_writes) {
  ASSERT_EQ(shake_hands(), "");
  client_->write("last words");
  client_->say_goodbye();
  send();
  std::string bytes(100, '\0');
  outcome words;
  stream_->async_read_some(asio::buffer(bytes), words.taker());
  run_until([&] { return words.ended; });
  EXPECT_EQ(words.count, 10U);
  outcome end;
  stream_->async_read_some(asio::buffer(bytes), end.taker());
  run_until([&] { return end.ended; });
  EXPECT_EQ(end.code, asio::error::eof);
  outcome written;
  stream_->async_write_some(asio::buffer("answer", 6), written.taker());
  run_until([&] { return written.ended; });
  receive();
  EXPECT_EQ(client_->read(), "answer");
}

TEST_F(tls_stream_test, ends_reading_when_the_client_talks_nonsense) {
  ASSERT_EQ(shake_hands(), "");
  const std::string nonsense = "IHAVEOPT and more that is no record";
  ASSERT_EQ(::send(peer_.get(), nonsense.data(), nonsense.size(), 0),
            static_cast<ssize_t>(nonsense.size()));
  std::string bytes(100, '\0');
  outcome read;
  stream_->async_read_some(asio::buffer(bytes), read.taker());
  run_until([&] { return read.ended; });
  EXPECT_EQ(read.code, boost::system::errc::protocol_error);
  // Which field OpenSSL looks at first depends on its version.
  EXPECT_THAT(stream_->engine().problem(),
              AnyOf("TLS: wrong version number", "TLS: bad record type"));
  outcome written;
  stream_->async_write_some(asio::buffer("answer", 6), written.taker());
  EXPECT_FALSE(written.ended);
  run_until([&] { return written.ended; });
  EXPECT_EQ(written.code, boost::system::errc::protocol_error);
}

TEST_F(tls_stream_test, ends_reading_when_the_client_is_gone_without_a_word) {
  ASSERT_EQ(shake_hands(), "");
  peer_.reset();
  std::string bytes(100, '\0');
  outcome read;
  stream_->async_read_some(asio::buffer(bytes), read.taker());
  run_until([&] { return read.ended; });
  EXPECT_EQ(read.code, asio::error::eof);
}

TEST_F(tls_stream_test, says_goodbye_at_once) {
  ASSERT_EQ(shake_hands(), "");
  stream_->say_goodbye();
  receive();
  EXPECT_EQ(client_->read(), "");
  EXPECT_TRUE(client_->heard_goodbye());
}

TEST_F(tls_stream_test, waits_for_nobody_to_say_goodbye) {
  ASSERT_EQ(shake_hands(), "");
  const std::string large(1 << 20, 'x');
  outcome written;
  stream_->async_write_some(asio::buffer(large), written.taker());
  run_dry();
  EXPECT_FALSE(written.ended) << "the client reads nothing";
  stream_->say_goodbye();
  socket_.close();
  run_until([&] { return written.ended; });
  EXPECT_EQ(written.code, asio::error::operation_aborted);
  stream_->say_goodbye();
}

TEST_F(tls_stream_test, tells_a_client_that_fails_in_the_handshake_why) {
  client_wishes wishes;
  wishes.user = "mallory";
  wishes.key = unhex(hexadecimal_key('1'));
  wishes.version = TLS1_2_VERSION;
  client_.emplace(wishes);
  EXPECT_THAT(shake_hands(), HasSubstr("there is no user 'mallory'"));
  stream_->say_goodbye();
  receive();
  EXPECT_EQ(SSL_do_handshake(client_->ssl()), -1);
  EXPECT_EQ(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_TLSV1_ALERT_UNKNOWN_PSK_IDENTITY);
}

TEST_F(tls_stream_test, says_that_a_client_hung_up_in_the_handshake) {
  peer_.reset();
  std::optional<std::string> end;
  start_handshake(end);
  run_until([&] { return end.has_value(); });
  EXPECT_EQ(*end, "the client hung up in the TLS handshake");
}

}  // namespace
}  // namespace xenpv::nbd
