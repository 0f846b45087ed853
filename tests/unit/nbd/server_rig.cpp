#include "server_rig.hpp"

#include <gtest/gtest.h>
#include <sys/un.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "negotiation_client.hpp"
#include "xenpv/async/shield.hpp"

namespace xenpv::nbd::test {
namespace {

asio::generic::stream_protocol protocol_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return {address.ss_family, 0};
}

export_options named(export_options options) {
  if (options.name.empty()) options.name = "disk";
  return options;
}

}  // namespace

test_client::test_client(const asio::any_io_executor& executor, unique_fd socket)
    : socket_(executor) {
  const auto protocol = protocol_of(socket.get());
  socket_.assign(protocol, socket.release());
}

std::unique_ptr<test_client> test_client::connect(const asio::any_io_executor& executor,
                                                  const std::string& path) {
  unique_fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw_errno("connect to " + path);
  return std::make_unique<test_client>(executor, std::move(socket));
}

std::unique_ptr<test_client> test_client::connect(const asio::any_io_executor& executor,
                                                  const unique_fd& listener, int receive_buffer) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  unique_fd socket(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (receive_buffer > 0)
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0)
    throw_errno("connect to a listener");
  return std::make_unique<test_client>(executor, std::move(socket));
}

unsigned test_client::own_port() {
  const auto end = socket_.local_endpoint();
  asio::ip::tcp::endpoint address;
  address.resize(end.size());
  std::memcpy(address.data(), end.data(), end.size());
  return address.port();
}

asio::awaitable<void> test_client::send(std::string bytes) {
  co_await asio::async_write(socket_, asio::buffer(bytes), asio::use_awaitable);
}

asio::awaitable<std::string> test_client::receive(std::size_t size) {
  std::string out(size, '\0');
  co_await asio::async_read(socket_, asio::buffer(out), asio::use_awaitable);
  co_return out;
}

asio::awaitable<std::string> test_client::some() {
  std::array<char, 4096> bytes;
  const auto [code, count] =
      co_await socket_.async_read_some(asio::buffer(bytes), asio::as_tuple(asio::use_awaitable));
  co_return std::string(bytes.data(), code ? 0 : count);
}

asio::awaitable<std::string> test_client::rest() {
  std::string out;
  for (;;) {
    const auto part = co_await some();
    if (part.empty()) co_return out;
    out += part;
  }
}

asio::awaitable<std::uint64_t> test_client::go(std::string name) {
  (void)co_await receive(18);
  co_await send(flags() + option(wire::nbd_option::go, info(name)));
  std::uint64_t size = 0;
  for (;;) {
    const auto header = co_await receive(20);
    const auto data = co_await receive(number_in(header, 16, 4));
    const auto type = number_in(header, 12, 4);
    if (type == 1) co_return size;
    if (type != 3) throw std::runtime_error(shown_reply(header + data));
    size = number_in(data, 2, 8);
  }
}

asio::awaitable<std::string> test_client::ask(sent_request r, std::string payload) {
  if (r.command == nbd_command::read) reader.reads[r.cookie] = r.length;
  co_await send(request(r) + payload);
  co_return co_await reply();
}

asio::awaitable<std::string> test_client::reply() {
  while (replies_.empty()) {
    std::array<char, 4096> bytes;
    const auto count = co_await socket_.async_read_some(asio::buffer(bytes), asio::use_awaitable);
    reader.feed({bytes.data(), count});
    replies_ = reader.take();
  }
  auto first = std::move(replies_.front());
  replies_.erase(replies_.begin());
  co_return first;
}

void test_client::half_close() {
  socket_.shutdown(asio::socket_base::shutdown_send);
}

server_rig::server_rig(server_options options, fake_options device_options, export_options exported)
    : pool_(std::make_unique<async::cpu_pool>(two_cpus())) {
  const std::vector<asio::any_io_executor> executors = {pool_->executor(0), pool_->executor(1)};
  device = std::make_unique<fake_device>(executors, device_options);
  options.handshakes = handshakes_.get_executor();
  server = std::make_unique<nbd::server>(control(), std::move(options));
  server->add_export(*device, named(std::move(exported)));
}

server_rig::~server_rig() = default;

void server_rig::run(std::function<asio::awaitable<void>(server_rig&)> body) {
  std::exception_ptr error;
  asio::co_spawn(control_, async::shield_completion(live(std::move(body))),
                 [&](std::exception_ptr thrown) { error = std::move(thrown); });
  control_.run();
  pool_->stop();
  pool_->join();
  if (error) std::rethrow_exception(error);
}

asio::awaitable<void> server_rig::live(std::function<asio::awaitable<void>(server_rig&)> body) {
  std::exception_ptr error;
  try {
    co_await body(*this);
  } catch (...) {
    error = std::current_exception();
  }
  for (std::size_t i = 0; i < device->queue_count(); ++i)
    co_await answer_all(i);
  co_await server->stop();
  if (error) std::rethrow_exception(error);
}

std::unique_ptr<test_client> server_rig::new_client() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0)
    throw_errno("create a socket pair");
  server->serve(unique_fd(fds[0]));
  return std::make_unique<test_client>(control(), unique_fd(fds[1]));
}

asio::awaitable<void> server_rig::until(std::function<bool()> condition) {
  asio::steady_timer timer(control_);
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > limit)
      throw std::runtime_error("the condition did not become true");
    timer.expires_after(std::chrono::milliseconds(1));
    co_await timer.async_wait(asio::use_awaitable);
  }
}

asio::awaitable<void> server_rig::until_waiting(std::size_t queue, std::size_t requests) {
  for (;;) {
    auto count = [&] { return device->queue(queue).waiting.size(); };
    const auto waiting = co_await on_queue(queue, count);
    if (waiting >= requests) co_return;
    bool looked = false;
    auto once = [&] { return std::exchange(looked, true); };
    co_await until(once);
  }
}

asio::awaitable<void> server_rig::until_served(std::uint64_t count) {
  const auto reached = [this, count] { return server->statistics().accepted >= count; };
  co_await until(reached);
}

asio::awaitable<void> server_rig::answer_all(std::size_t queue) {
  auto answer = [&] {
    device->queue(queue).answers = true;
    device->queue(queue).answer_all();
  };
  co_await on_queue(queue, answer);
}

stopping::stopping(server_rig& rig) : rig_(rig) {
  asio::co_spawn(rig.control(), async::shield_completion(rig.server->stop()),
                 [over = over_](std::exception_ptr error) {
                   EXPECT_FALSE(error);
                   *over = true;
                 });
}

asio::awaitable<void> stopping::wait() {
  // Named, because g++ 12 destroys the captures of a temporary lambda in a co_await expression
  // twice.
  const auto is_over = [over = over_] { return *over; };
  co_await rig_.until(is_over);
}

}  // namespace xenpv::nbd::test
