// A TLS stream over a socket, used through Asio operations.
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

/// The result of an asynchronous operation.
struct outcome {
  bool ended = false;
  error_code code;
  std::size_t count = 0;

  auto handler() {
    return [this](error_code result, std::size_t size) {
      ended = true;
      code = result;
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
    tls_client_options options;
    options.user = "alice";
    options.key = unhex(hexadecimal_key('1'));
    client_.emplace(options);
  }

  /// Sends the client's pending output to the server.
  void send() {
    const auto bytes = client_->take_output();
    if (!bytes.empty()) {
      EXPECT_EQ(::send(peer_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(bytes.size()));
    }
  }
  /// Receives the server's output for the client.
  void receive() {
    std::array<char, 65536> bytes;
    for (;;) {
      const auto got = ::recv(peer_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      if (got <= 0) return;
      client_->give_input({bytes.data(), static_cast<std::size_t>(got)});
    }
  }
  /// Runs the server's side until `done()` returns true. Fails after 20 s.
  template <class Condition>
  void run_until(Condition done) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), limit);
      context_.restart();
      context_.run_one_for(std::chrono::seconds(5));
    }
  }
  /// Runs the server's side until it has to wait.
  void run_ready() {
    context_.restart();
    context_.poll();
  }

  /// Runs the handshake. Returns the error message, or "" if the handshake succeeds.
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

TEST_F(tls_stream_test, reads_all_bytes_of_many_records) {
  ASSERT_EQ(shake_hands(), "");
  std::string all;
  for (int i = 0; i < 100; ++i) {
    client_->write("request " + std::to_string(i));
    all += "request " + std::to_string(i);
  }
  send();
  std::string first(10, '\0');
  std::string second(4096, '\0');
  const std::array<asio::mutable_buffer, 2> buffers = {asio::buffer(first), asio::buffer(second)};
  outcome read;
  stream_->async_read_some(buffers, read.handler());
  run_until([&] { return read.ended; });
  EXPECT_FALSE(read.code);
  EXPECT_EQ(first + second.substr(0, read.count - first.size()), all);
}

TEST_F(tls_stream_test, completes_no_read_within_the_initiating_function) {
  ASSERT_EQ(shake_hands(), "");
  client_->write("twelve bytes");
  send();
  std::string bytes(6, '\0');
  for (int half = 0; half < 2; ++half) {
    outcome read;
    stream_->async_read_some(asio::buffer(bytes), read.handler());
    EXPECT_FALSE(read.ended);
    run_until([&] { return read.ended; });
    EXPECT_EQ(read.count, 6U);
  }
  outcome nothing;
  stream_->async_read_some(asio::buffer(bytes.data(), 0), nothing.handler());
  run_until([&] { return nothing.ended; });
  EXPECT_FALSE(nothing.code);
}

TEST_F(tls_stream_test, loses_no_data_when_a_read_is_cancelled) {
  ASSERT_EQ(shake_hands(), "");
  client_->write("the whole of it");
  const auto record = client_->take_output();
  // Cancels one read before data arrives, and one that has already read a part of a record.
  for (const std::size_t available : {std::size_t{0}, record.size() / 2}) {
    ASSERT_EQ(::send(peer_.get(), record.data(), available, 0), static_cast<ssize_t>(available));
    asio::cancellation_signal signal;
    outcome read;
    std::string bytes(100, '\0');
    stream_->async_read_some(asio::buffer(bytes),
                             asio::bind_cancellation_slot(signal.slot(), read.handler()));
    if (available == 0) run_ready();
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
  stream_->async_read_some(asio::buffer(bytes), read.handler());
  run_until([&] { return read.ended; });
  EXPECT_EQ(bytes.substr(0, read.count), "the whole of it");
}

TEST_F(tls_stream_test, reads_available_data_without_waiting) {
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
  EXPECT_EQ(code, asio::error::would_block) << "a part of a record yields no data";
  ASSERT_EQ(::send(peer_.get(), &records.back(), 1, 0), 1);
  count = stream_->read_some(asio::buffer(bytes), code);
  EXPECT_FALSE(code);
  EXPECT_EQ(bytes.substr(0, count), "second");

  client_->close_notify();
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
  const std::array<asio::const_buffer, 3> buffers = {asio::buffer(header), asio::buffer(data),
                                                     asio::buffer(header)};
  outcome written;
  stream_->async_write_some(buffers, written.handler());
  EXPECT_FALSE(written.ended);
  run_until([&] { return written.ended; });
  EXPECT_FALSE(written.code);
  EXPECT_EQ(written.count, 40'012U);
  receive();
  EXPECT_EQ(client_->read(), header + data + header);
}

TEST_F(tls_stream_test, writes_a_part_of_large_data) {
  ASSERT_EQ(shake_hands(), "");
  std::string header = "header";
  const std::string data(1 << 20, 'x');
  const std::array<asio::const_buffer, 2> buffers = {asio::buffer(header), asio::buffer(data)};
  outcome written;
  stream_->async_write_some(buffers, written.handler());
  while (!written.ended) {
    run_ready();
    receive();
  }
  EXPECT_FALSE(written.code);
  EXPECT_EQ(written.count, 256U << 10U);
  EXPECT_EQ(client_->read(), header + data.substr(0, (256U << 10U) - header.size()));
}

TEST_F(tls_stream_test, ends_reading_after_close_notify_and_still_writes) {
  ASSERT_EQ(shake_hands(), "");
  client_->write("last words");
  client_->close_notify();
  send();
  std::string bytes(100, '\0');
  outcome text;
  stream_->async_read_some(asio::buffer(bytes), text.handler());
  run_until([&] { return text.ended; });
  EXPECT_EQ(text.count, 10U);
  outcome end;
  stream_->async_read_some(asio::buffer(bytes), end.handler());
  run_until([&] { return end.ended; });
  EXPECT_EQ(end.code, asio::error::eof);
  outcome written;
  stream_->async_write_some(asio::buffer("answer", 6), written.handler());
  run_until([&] { return written.ended; });
  receive();
  EXPECT_EQ(client_->read(), "answer");
}

TEST_F(tls_stream_test, fails_reading_when_the_client_sends_no_tls) {
  ASSERT_EQ(shake_hands(), "");
  const std::string junk = "IHAVEOPT and more that is no record";
  ASSERT_EQ(::send(peer_.get(), junk.data(), junk.size(), 0), static_cast<ssize_t>(junk.size()));
  std::string bytes(100, '\0');
  outcome read;
  stream_->async_read_some(asio::buffer(bytes), read.handler());
  run_until([&] { return read.ended; });
  EXPECT_EQ(read.code, boost::system::errc::protocol_error);
  // Which field OpenSSL checks first depends on its version.
  EXPECT_THAT(stream_->engine().problem(),
              AnyOf("TLS: wrong version number", "TLS: bad record type"));
  outcome written;
  stream_->async_write_some(asio::buffer("answer", 6), written.handler());
  EXPECT_FALSE(written.ended);
  run_until([&] { return written.ended; });
  EXPECT_EQ(written.code, boost::system::errc::protocol_error);
}

TEST_F(tls_stream_test, ends_reading_when_the_client_disconnects_without_close_notify) {
  ASSERT_EQ(shake_hands(), "");
  peer_.reset();
  std::string bytes(100, '\0');
  outcome read;
  stream_->async_read_some(asio::buffer(bytes), read.handler());
  run_until([&] { return read.ended; });
  EXPECT_EQ(read.code, asio::error::eof);
}

TEST_F(tls_stream_test, sends_close_notify_immediately) {
  ASSERT_EQ(shake_hands(), "");
  stream_->say_goodbye();
  receive();
  EXPECT_EQ(client_->read(), "");
  EXPECT_TRUE(client_->received_close_notify());
}

TEST_F(tls_stream_test, sends_close_notify_without_waiting_for_a_pending_write) {
  ASSERT_EQ(shake_hands(), "");
  const std::string large(1 << 20, 'x');
  outcome written;
  stream_->async_write_some(asio::buffer(large), written.handler());
  run_ready();
  EXPECT_FALSE(written.ended) << "the client reads nothing";
  stream_->say_goodbye();
  socket_.close();
  run_until([&] { return written.ended; });
  EXPECT_EQ(written.code, asio::error::operation_aborted);
  stream_->say_goodbye();
}

TEST_F(tls_stream_test, sends_an_alert_to_a_client_that_fails_in_the_handshake) {
  tls_client_options options;
  options.user = "mallory";
  options.key = unhex(hexadecimal_key('1'));
  options.version = TLS1_2_VERSION;
  client_.emplace(options);
  EXPECT_THAT(shake_hands(), HasSubstr("no user 'mallory'"));
  stream_->say_goodbye();
  receive();
  EXPECT_EQ(SSL_do_handshake(client_->ssl()), -1);
  EXPECT_EQ(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_TLSV1_ALERT_UNKNOWN_PSK_IDENTITY);
}

TEST_F(tls_stream_test, reports_that_a_client_hung_up_in_the_handshake) {
  peer_.reset();
  std::optional<std::string> end;
  start_handshake(end);
  run_until([&] { return end.has_value(); });
  EXPECT_EQ(*end, "the client disconnected during the TLS handshake");
}

}  // namespace
}  // namespace xenpv::nbd
