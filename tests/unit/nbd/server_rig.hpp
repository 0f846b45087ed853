// A server for a fake device with one thread per queue, and clients that run as coroutines on the
// control thread.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "async/low_priority_thread.hpp"
#include "fake_device.hpp"
#include "replies.hpp"
#include "xenpv/async/cpu_pool.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::nbd::test {

/// A client with one connection.
class test_client {
 public:
  test_client(const asio::any_io_executor& executor, unique_fd socket);

  /// Connects to a Unix socket. Throws system_error.
  [[nodiscard]] static std::unique_ptr<test_client> connect(const asio::any_io_executor& executor,
                                                            const std::string& path);
  /// Connects to the address of `listener`.
  [[nodiscard]] static std::unique_ptr<test_client> connect(const asio::any_io_executor& executor,
                                                            const unique_fd& listener,
                                                            int receive_buffer = 0);

  [[nodiscard]] asio::awaitable<void> send(std::string bytes);
  /// Receives exactly `size` bytes. Throws if the server hangs up first.
  [[nodiscard]] asio::awaitable<std::string> receive(std::size_t size);
  /// Receives at least one byte. Returns "" if the server has hung up.
  [[nodiscard]] asio::awaitable<std::string> some();
  /// Receives all bytes until the server hangs up.
  [[nodiscard]] asio::awaitable<std::string> rest();
  /// Negotiates with NBD_OPT_GO. Returns the size of the export.
  [[nodiscard]] asio::awaitable<std::uint64_t> go(std::string name = "disk");
  /// Sends a request. Returns the reply as formatted by reply_reader.
  [[nodiscard]] asio::awaitable<std::string> ask(sent_request r, std::string payload = {});
  [[nodiscard]] asio::awaitable<std::string> reply();

  void half_close();
  [[nodiscard]] unsigned own_port();

  reply_reader reader;

 private:
  asio::generic::stream_protocol::socket socket_;
  std::vector<std::string> replies_;
};

class server_rig {
 public:
  /// The server exports `device` as "disk", unless `exported` has another name. Handshakes run on a
  /// separate thread.
  explicit server_rig(server_options options = {}, fake_options device_options = {},
                      export_options exported = {});
  ~server_rig();
  server_rig(const server_rig&) = delete;
  server_rig& operator=(const server_rig&) = delete;

  /// Runs `body` on the control thread, then stops the server.
  void run(std::function<asio::awaitable<void>(server_rig&)> body);

  [[nodiscard]] asio::any_io_executor queue_executor(std::size_t index) {
    return pool_->executor(index);
  }
  /// Creates a client that the server serves over a socket pair.
  [[nodiscard]] std::unique_ptr<test_client> new_client();
  /// Runs `function` on a queue's thread.
  template <class Function>
  [[nodiscard]] auto on_queue(std::size_t index, Function function) {
    return async::call_on(pool_->executor(index), std::move(function));
  }
  [[nodiscard]] asio::awaitable<void> until_waiting(std::size_t queue, std::size_t requests);
  /// Polls `condition`. Throws if it does not become true in time.
  [[nodiscard]] asio::awaitable<void> until(std::function<bool()> condition);
  /// Waits until `count` clients in all have been served: a client receives the end of its
  /// negotiation before the server has moved it to its queue.
  [[nodiscard]] asio::awaitable<void> until_served(std::uint64_t count);
  [[nodiscard]] asio::awaitable<void> answer_all(std::size_t queue);
  [[nodiscard]] asio::any_io_executor control() { return control_.get_executor(); }

 private:
  asio::awaitable<void> live(std::function<asio::awaitable<void>(server_rig&)> body);

  asio::io_context control_{1};
  std::unique_ptr<async::cpu_pool> pool_;
  async::low_priority_thread handshakes_{"handshakes"};

 public:
  std::unique_ptr<fake_device> device;
  std::unique_ptr<nbd::server> server;
};

/// Runs server::stop() in the background. Call wait() before the rig is destroyed.
class stopping {
 public:
  explicit stopping(server_rig& rig);
  [[nodiscard]] bool is_over() const { return *over_; }
  [[nodiscard]] asio::awaitable<void> wait();

 private:
  server_rig& rig_;
  std::shared_ptr<bool> over_ = std::make_shared<bool>(false);
};

using lines = std::vector<std::string>;

/// Returns a socket path that is unique to this process.
inline std::string socket_path() {
  return testing::TempDir() + fmt::format("xenpv-nbd-{}.sock", ::getpid());
}

}  // namespace xenpv::nbd::test
