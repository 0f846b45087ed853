#include "nbd/acceptor.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <chrono>
#include <utility>

#include "base/descriptor_limit.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

/// The listener stays readable while nothing can be accepted, so an immediate retry would spin.
constexpr std::chrono::milliseconds retry_interval(100);

/// The number of retries while a disconnecting client has not freed its descriptor yet.
constexpr int most_pauses = 10;

bool is_shortage(int problem) {
  return problem == EMFILE || problem == ENFILE || problem == ENOMEM || problem == ENOBUFS;
}

}  // namespace

acceptor::acceptor(const asio::any_io_executor& executor, callbacks server)
    : executor_(executor), server_(std::move(server)), room_changed_(executor) {}

void acceptor::cancel() {
  cancelled_ = true;
  for (auto* const listener : listeners_)
    listener->cancel();
  room_changed_.notify();
}

asio::awaitable<void> acceptor::run(unique_fd socket, std::size_t listener) {
  // Non-blocking because a waiting client may have disconnected before accept is called.
  ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  asio::posix::stream_descriptor ready(executor_, socket.release());
  const auto position = listeners_.insert(listeners_.end(), &ready);
  while (!cancelled_) {
    const auto [code] = co_await ready.async_wait(asio::posix::stream_descriptor::wait_read,
                                                  asio::as_tuple(asio::use_awaitable));
    if (code) break;
    if (server_.is_congested())
      co_await pause();
    else
      co_await accept_one(ready.native_handle(), listener);
  }
  listeners_.erase(position);
}

asio::awaitable<void> acceptor::accept_one(int listening, std::size_t listener) {
  unique_fd client(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
  if (!client) {
    const int problem = errno;
    if (!is_shortage(problem)) co_return;
    server_.failed(fmt::format("cannot accept a client: {}", describe_errno(problem)));
    co_return co_await pause();
  }
  if (is_in_reserve(client.get(), descriptor_limit())) {
    co_await leave_reserve(client);
    if (!client) co_return;
  }
  server_.accepted(std::move(client), listener);
}

asio::awaitable<void> acceptor::leave_reserve(unique_fd& client) {
  const bool will_be_free = server_.free_descriptor();
  for (int i = 0; will_be_free && !cancelled_ && i < most_pauses; ++i) {
    co_await pause();
    // The lowest free descriptor, or an error.
    unique_fd moved(::fcntl(client.get(), F_DUPFD_CLOEXEC, 0));
    if (!moved || is_in_reserve(moved.get(), descriptor_limit())) continue;
    client = std::move(moved);
    co_return;
  }
  client.reset();
  if (!will_be_free) co_await pause();
  if (cancelled_) co_return;
  server_.failed(
      "cannot accept a client: too few file descriptors are left (raise the limit of open files, "
      "see ulimit -n or LimitNOFILE=, or lower --max-connections)");
}

asio::awaitable<void> acceptor::pause() {
  asio::steady_timer retry(executor_, retry_interval);
  retry.async_wait([this](boost::system::error_code code) {
    if (!code) room_changed_.notify();
  });
  if (!cancelled_) co_await room_changed_.wait();
}

}  // namespace xenpv::nbd
