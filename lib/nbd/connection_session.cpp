// The transmission phase of a connection, on the thread of its queue.
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>

#include "nbd/connection.hpp"
#include "nbd/session.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::nbd {
namespace {

/// Time limit for delivering the last replies to a client that keeps sending.
constexpr std::chrono::seconds linger_limit{2};
constexpr std::chrono::milliseconds linger_step{5};

std::string_view reply_format(session_terms terms) noexcept {
  if (terms.extended) return "extended headers";
  return terms.structured ? "structured replies" : "simple replies";
}

}  // namespace

void connection::attach(blk::block_queue& queue, std::size_t queue_index,
                        const export_info& current, const shared_resources& shared) {
  queue_ = &queue;
  queue_index_ = queue_index;
  shared_ = shared;
  reshape(current);
  if (!detached_) return;
  // The TLS stream refers to this socket, which keeps its address.
  socket_.emplace(queue.get_executor());
  socket_->assign(protocol_, detached_.get());
  (void)detached_.release();
}

asio::awaitable<std::string> connection::serve() {
  std::string problem;
  try {
    if (!hung_up_) problem = co_await transmit();
  } catch (const boost::system::system_error& error) {
    problem = error.code().message();
  } catch (const std::exception& error) {
    problem = error.what();
  }
  hang_up();
  co_return problem;
}

std::unique_ptr<transmission> connection::make_session() {
  auto shut = [this] { hang_up(); };
  const auto& exported = machine_.agreed_export();
  const auto terms = machine_.agreed().terms();
  session_limits limits;
  limits.shared = shared_;
  limits.progress = progress_limit_;
  if (tls_)
    return std::make_unique<session<tls_stream>>(*tls_, *queue_, exported, terms, shut, limits);
  return std::make_unique<session<client_socket>>(*socket_, *queue_, exported, terms, shut, limits);
}

asio::awaitable<std::string> connection::transmit() {
  session_ = make_session();
  session_->reshape(*current_export_);
  if (draining_) session_->drain();
  log().debug("{}: uses export '{}' on queue {}, with {}", name_, machine_.agreed_export().name,
              queue_index_, reply_format(machine_.agreed().terms()));
  auto reason = co_await session_->run(machine_.rest());
  std::string problem;
  if (tls_) problem = tls_->engine().problem();
  if (problem.empty() && session_->ended_by_server()) problem = reason;
  if (problem.empty()) log().debug("{}: {}", name_, reason);
  if (hung_up_) co_return problem;
  if (tls_) tls_->say_goodbye();
  co_await linger();
  co_return problem;
}

/// Closing a TCP socket with unread requests would reset the connection and lose replies that are
/// still in flight.
asio::awaitable<void> connection::linger() {
  boost::system::error_code failed;
  socket_->shutdown(asio::socket_base::shutdown_send, failed);
  if (failed || protocol_.family() == AF_UNIX) co_return;
  asio::steady_timer timer(co_await asio::this_coro::executor);
  const auto limit = std::chrono::steady_clock::now() + linger_limit;
  while (!hung_up_) {
    discard_input(socket_->native_handle());
    if (!has_unsent(socket_->native_handle()) || std::chrono::steady_clock::now() > limit)
      co_return;
    timer.expires_after(linger_step);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

void connection::drain() {
  draining_ = true;
  if (session_) session_->drain();
}

void connection::reshape(const export_info& info) {
  current_export_ = info;
  current_export_->read_only = info.read_only || machine_.agreed_export().read_only;
  if (session_) session_->reshape(*current_export_);
}

client_statistics connection::statistics() const {
  client_statistics out;
  out.number = number_;
  out.peer = peer_;
  out.listener = listener_;
  out.export_name = machine_.agreed_export().name;
  out.queue = queue_index_;
  out.read_only = current_export_ && current_export_->read_only;
  const auto now = std::chrono::steady_clock::now();
  out.age = now - since_;
  out.idle = out.age;
  if (tls_) {
    out.tls = tls_->engine().protocol();
    out.user = tls_->engine().user();
    out.identity = to_string(tls_->engine().identity());
  }
  if (!session_) return out;
  // The session's clock may be a few milliseconds behind.
  out.idle = std::clamp<std::chrono::nanoseconds>(now - session_->last_received(), {}, out.age);
  const auto& counters = session_->statistics();
  out.requests = counters.requests;
  out.errors = counters.errors;
  out.bytes_read = counters.bytes_read;
  out.bytes_written = counters.bytes_written;
  out.from_heap = counters.from_heap;
  return out;
}

}  // namespace xenpv::nbd
