#include "control_socket.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <filesystem>

#include "claim.hpp"
#include "report.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/nbd/listen.hpp"

namespace xenpv::disk_app {
namespace {

/// Time limit for a client to read its report.
constexpr std::chrono::seconds timeout(2);
/// Time limit for a server to reply.
constexpr std::chrono::seconds answer_limit(10);

std::string control_path(const std::string& name) {
  return fmt::format("{}/{}.control", runtime_directory(), name);
}

asio::awaitable<void> send(asio::posix::stream_descriptor& out, const std::string& text) {
  (void)co_await asio::async_write(out, asio::buffer(text), asio::as_tuple(asio::use_awaitable));
}

/// Returns the server's report, or nullopt if no server replied.
std::optional<cli::json> ask(const std::string& path) {
  const unique_fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return std::nullopt;
  const timeval limit{answer_limit.count(), 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  std::string text;
  char bytes[4096];
  for (;;) {
    const auto count = ::read(socket.get(), bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    text.append(bytes, static_cast<std::size_t>(count));
  }
  auto report = cli::json::parse(text, nullptr, false);
  if (report.is_discarded()) return std::nullopt;
  return report;
}

}  // namespace

status_socket::status_socket(const asio::any_io_executor& control, const std::string& disk)
    : path_(control_path(disk)), listener_(control, nbd::listen_unix(path_).release()) {}

void status_socket::close() noexcept {
  if (path_.empty()) return;
  ::unlink(path_.c_str());
  path_.clear();
  boost::system::error_code ignored;
  listener_.close(ignored);
}

asio::awaitable<unique_fd> status_socket::accept() {
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

asio::awaitable<void> status_socket::refuse() {
  for (;;)
    (void)co_await accept();
}

asio::awaitable<void> status_socket::answer(served_disk& disk) {
  for (;;) {
    auto client = co_await accept();
    const auto report = co_await make_report(disk);
    const auto text = report.dump(-1, ' ', false, cli::json::error_handler_t::replace) + "\n";
    asio::posix::stream_descriptor out(listener_.get_executor(), client.release());
    try {
      // A client that does not read must not block other clients.
      auto written = send(out, text);
      co_await async::with_deadline(std::move(written), timeout, "answer a status request");
    } catch (const failure& problem) {
      log().debug("status: {}", problem.what());
    }
  }
}

bool names_disk(const cli::json& report, std::string_view name) {
  const auto guest_name = report.at("name").get<std::string>();
  const auto path = report.at("device").at("path").get<std::string>();
  return name == guest_name || name == "/dev/" + guest_name || name == path ||
         name == path.substr(path.rfind('/') + 1) ||
         name == report.value("toolstack_name", guest_name);
}

std::vector<cli::json> ask_servers(const std::string& disk) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(runtime_directory()))
    if (entry.path().extension() == ".control") paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  // Usually the socket is named after `disk`, and no other server needs to be queried.
  if (std::ranges::count(paths, control_path(disk)) > 0) paths = {control_path(disk)};
  std::vector<cli::json> out;
  for (const auto& path : paths)
    if (auto report = ask(path); report && (disk.empty() || names_disk(*report, disk)))
      out.push_back(std::move(*report));
  if (out.empty() && !disk.empty())
    throw failure(make_error_code(errc::not_available), fmt::format("query the server of {}", disk),
                  "no process serves it; start a server with xenpv-disk serve");
  return out;
}

}  // namespace xenpv::disk_app
