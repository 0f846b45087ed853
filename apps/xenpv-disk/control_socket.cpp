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

namespace asio = async::asio;

/// For a client that asks and does not read.
constexpr std::chrono::seconds patience(2);
/// For a server that does not answer.
constexpr std::chrono::seconds answer_limit(10);

std::string control_path(const std::string& name) {
  return fmt::format("{}/{}.control", runtime_directory(), name);
}

/// Removes the socket's file when the server ends.
class socket_file {
 public:
  explicit socket_file(std::string path) : path_(std::move(path)) {}
  ~socket_file() { ::unlink(path_.c_str()); }
  socket_file(const socket_file&) = delete;
  socket_file& operator=(const socket_file&) = delete;

 private:
  std::string path_;
};

asio::awaitable<void> send(asio::posix::stream_descriptor& to, const std::string& text) {
  (void)co_await asio::async_write(to, asio::buffer(text), asio::as_tuple(asio::use_awaitable));
}

/// nullopt: nobody answers there any more.
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
    const auto got = ::read(socket.get(), bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(bytes, static_cast<std::size_t>(got));
  }
  auto report = cli::json::parse(text, nullptr, false);
  if (report.is_discarded()) return std::nullopt;
  return report;
}

}  // namespace

asio::awaitable<void> answer_status(served_disk& disk) {
  const auto path = control_path(disk.name);
  auto listener = nbd::listen_unix(path);
  const socket_file file(path);
  asio::posix::stream_descriptor ready(disk.on.control(), listener.release());
  for (;;) {
    co_await ready.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
    unique_fd client(::accept4(ready.native_handle(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) {
      // Out of descriptors, perhaps: the socket stays readable, and asking again would only spin.
      asio::steady_timer timer(disk.on.control(), std::chrono::milliseconds(100));
      co_await timer.async_wait(asio::use_awaitable);
      continue;
    }
    const auto report = co_await make_report(disk);
    const auto text = report.dump(-1, ' ', false, cli::json::error_handler_t::replace) + "\n";
    asio::posix::stream_descriptor out(disk.on.control(), client.release());
    try {
      // Somebody who does not read must not keep others from their answers.
      auto written = send(out, text);
      co_await async::with_deadline(std::move(written), patience, "answer a status request");
    } catch (const failure& problem) {
      log().debug("status: {}", problem.what());
    }
  }
}

std::vector<cli::json> ask_servers(const std::string& disk) {
  std::vector<std::string> paths;
  const auto directory = runtime_directory();
  if (!disk.empty()) {
    paths.push_back(control_path(disk));
  } else {
    for (const auto& entry : std::filesystem::directory_iterator(directory))
      if (entry.path().extension() == ".control") paths.push_back(entry.path().string());
    std::sort(paths.begin(), paths.end());
  }
  std::vector<cli::json> out;
  for (const auto& path : paths)
    if (auto report = ask(path)) out.push_back(std::move(*report));
  if (out.empty() && !disk.empty())
    throw failure(make_error_code(errc::not_available), fmt::format("ask the server of {}", disk),
                  "nobody serves it; xenpv-disk serve does");
  return out;
}

}  // namespace xenpv::disk_app
