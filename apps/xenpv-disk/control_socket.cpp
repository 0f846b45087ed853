#include "control_socket.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "claim.hpp"
#include "confinement.hpp"
#include "report.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/nbd/listen.hpp"

namespace xenpv::disk_app {

// Defined only in a test build (tests/interop/misbehave.cpp): simulates an attacker who executes
// code in the server.
[[gnu::weak]] cli::json misbehave(const cli::json& request);

namespace {

using cli::json;

/// Time limits for a client to send its request, and to read the answer.
constexpr std::chrono::milliseconds request_limit(500);
constexpr std::chrono::seconds answer_limit(2);
constexpr std::size_t largest_request = 4096;

asio::awaitable<void> receive_line(asio::posix::stream_descriptor& client, std::string& line) {
  (void)co_await asio::async_read_until(client, asio::dynamic_buffer(line, largest_request), '\n',
                                        asio::as_tuple(asio::use_awaitable));
}

/// Returns an empty text if the client has not sent a request in time.
asio::awaitable<std::string> receive_request(asio::posix::stream_descriptor& client) {
  std::string line;
  try {
    auto received = receive_line(client, line);
    co_await async::with_deadline(std::move(received), request_limit, "receive a request");
  } catch (const failure& problem) {
    if (problem.code() != errc::timed_out) throw;
  }
  co_return line;
}

asio::awaitable<void> send(asio::posix::stream_descriptor& client, const std::string& text) {
  (void)co_await asio::async_write(client, asio::buffer(text), asio::as_tuple(asio::use_awaitable));
}

json outcome(const std::string& problem) {
  auto out = json::object();
  if (!problem.empty()) out["error"] = problem;
  return out;
}

json disconnect(disk_server& server, const json& request) {
  const auto number = request.find("client");
  if (number == request.end() || !number->is_number_unsigned())
    return outcome("the request names no client");
  const bool found = server.server.disconnect(number->get<std::uint64_t>());
  if (!found) return outcome("there is no client with this number; see xenpv-disk status");
  return outcome("");
}

}  // namespace

std::string control_path(const std::string& disk) {
  return fmt::format("{}/{}.control", runtime_directory(), disk);
}

control_socket::control_socket(const asio::any_io_executor& control, const std::string& disk)
    : path_(control_path(disk)), listener_(control, nbd::listen_unix(path_).release()) {}

void control_socket::close() noexcept {
  if (path_.empty()) return;
  remove_server_file(path_);
  path_.clear();
  boost::system::error_code ignored;
  listener_.close(ignored);
}

asio::awaitable<unique_fd> control_socket::accept() {
  for (;;) {
    co_await listener_.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
    unique_fd client(::accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC));
    if (client) co_return client;
    // Probably out of file descriptors: the socket stays readable, so an immediate retry would
    // spin.
    asio::steady_timer timer(listener_.get_executor(), std::chrono::milliseconds(100));
    co_await timer.async_wait(asio::use_awaitable);
  }
}

asio::awaitable<void> control_socket::refuse() {
  for (;;)
    (void)co_await accept();
}

asio::awaitable<void> control_socket::answer(disk_server& server, served_disk& disk,
                                             reload_function reload) {
  const auto reply_to = [&](const std::string& text) -> asio::awaitable<json> {
    if (text.empty()) co_return co_await make_report(server, disk);
    const auto request = json::parse(text, nullptr, false);
    const auto command = request.is_object() ? request.value("command", json()) : json();
    if (command == "status") co_return co_await make_report(server, disk);
    if (command == "reload") co_return outcome(co_await reload());
    if (command == "disconnect") co_return disconnect(server, request);
    if (command == "misbehave" && misbehave != nullptr) co_return misbehave(request);
    co_return outcome("this server does not know the request; is it another version?");
  };
  for (;;) {
    auto accepted = co_await accept();
    asio::posix::stream_descriptor client(listener_.get_executor(), accepted.release());
    const auto request = co_await receive_request(client);
    const auto reply = co_await reply_to(request);
    const auto text = reply.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
    try {
      auto sent = send(client, text);
      co_await async::with_deadline(std::move(sent), answer_limit, "answer a request");
    } catch (const failure& problem) {
      log().debug("control socket: {}", problem.what());
    }
  }
}

}  // namespace xenpv::disk_app
