#include "xenpv/nbd/server.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <list>

#include <sys/socket.h>

#include "nbd/connection.hpp"
#include "xenpv/async/call_on.hpp"
#include "xenpv/async/nursery.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::nbd {
namespace {

using connection_ptr = std::shared_ptr<connection>;

/// A client's place, from the moment it is accepted.
struct seat {
  std::size_t queue = 0;
  connection_ptr client{};  ///< once its thread has made it
  /// To be done to it then.
  std::vector<std::function<void(connection&)>> untold{};
  /// Of one without a handshake, for which max_connections does not count: see serve_agreed().
  std::function<void(bool)> ended{};
};

export_info describe(const blk::geometry& shape, const server_options& options) {
  export_info out;
  out.name = options.export_name;
  out.description = options.description;
  out.size = shape.size;
  out.preferred_block = std::max<std::uint32_t>(4096, shape.physical_sector_size);
  out.read_only = options.read_only || shape.read_only;
  out.can_flush = out.can_fua = shape.can_flush;
  out.can_trim = shape.can_discard;
  out.can_write_zeroes = true;
  // Asking for it is allowed, so that clients learn at once that zeros have to be written.
  out.can_fast_zero = true;
  out.zeroes_are_fast = false;
  out.can_cache = true;
  out.can_multi_conn = options.multi_conn;
  return out;
}

}  // namespace

result<void> check_export_name(const std::string& name) {
  export_info offered;
  offered.name = name;
  return validate(offered);
}

class server::state : public std::enable_shared_from_this<server::state> {
 public:
  state(const asio::any_io_executor& control, blk::block_device& device, server_options options)
      : control_(control), device_(device), options_(std::move(options)), tasks_(control) {
    if (options_.tls != tls_mode::off && !options_.credentials)
      throw failure(make_error_code(errc::invalid_argument), "serve over TLS",
                    "it needs certificates or pre-shared keys");
    shape_ = device_.queue(0).shape();
    validate(describe(shape_, options_)).value();
  }

  void listen(unique_fd listener) {
    // Non-blocking, because who was waiting may be gone when accept is called.
    ::fcntl(listener.get(), F_SETFL, O_NONBLOCK);
    tasks_.spawn(accept_all(std::move(listener)));
  }

  void serve(unique_fd socket) {
    if (stopping_) return;
    const auto connected = static_cast<unsigned>(
        std::count_if(seats_.begin(), seats_.end(), [](const seat& each) { return !each.ended; }));
    if (connected >= options_.max_connections) {
      ++statistics_.refused;
      log().warn("a client was turned away: {} are connected, the most there may be", connected);
      return;
    }
    ++statistics_.accepted;
    const auto at = seats_.insert(seats_.end(), seat{choose_queue()});
    tasks_.spawn(serve_one(std::move(socket), at));
  }

  void serve_agreed(unique_fd socket, std::size_t queue, std::function<void(bool)> ended) {
    if (stopping_) return ended(false);
    ++statistics_.accepted;
    const auto at = seats_.insert(seats_.end(), seat{queue});
    at->ended = std::move(ended);
    tasks_.spawn(serve_one(std::move(socket), at));
  }

  [[nodiscard]] std::uint16_t flags() const {
    return nbd::transmission_flags(describe(shape_, options_), false);
  }

  void reshape(const blk::geometry& shape) {
    shape_ = shape;
    tell_all([now = describe(shape, options_)](connection& each) { each.reshape(now); });
  }

  asio::awaitable<void> stop() {
    stopping_ = true;
    for (auto* const listener : listeners_)
      listener->cancel();
    tell_all([](connection& each) { each.drain(); });
    asio::steady_timer patience(control_, options_.drain_limit);
    patience.async_wait([self = shared_from_this()](boost::system::error_code code) {
      if (!code) self->hang_up();
    });
    co_await tasks_.join();
    patience.cancel();
  }

  void hang_up() {
    if (!seats_.empty())
      log().warn("{} clients are cut off with requests in flight", seats_.size());
    tell_all([](connection& each) { each.hang_up(); });
  }

  [[nodiscard]] server_statistics statistics() const {
    auto out = statistics_;
    out.connections = seats_.size();
    return out;
  }

  asio::awaitable<std::vector<client_statistics>> clients() {
    std::vector<client_statistics> out;
    std::vector<connection_ptr> now;
    for (const auto& each : seats_)
      if (each.client) now.push_back(each.client);
    for (const auto& each : now) {
      auto take = [each] { return each->statistics(); };
      out.push_back(co_await async::call_on(each->executor(), take));
    }
    co_return out;
  }

 private:
  static void tell(const connection_ptr& client, std::function<void(connection&)> what) {
    asio::post(client->executor(), [client, what = std::move(what)] { what(*client); });
  }

  void tell_all(const std::function<void(connection&)>& what) {
    for (auto& each : seats_) {
      if (each.client)
        tell(each.client, what);
      else
        each.untold.push_back(what);
    }
  }

  asio::awaitable<void> accept_all(unique_fd listener) {
    asio::posix::stream_descriptor ready(control_, listener.release());
    const auto at = listeners_.insert(listeners_.end(), &ready);
    while (!stopping_) {
      const auto [code] = co_await ready.async_wait(asio::posix::stream_descriptor::wait_read,
                                                    asio::as_tuple(asio::use_awaitable));
      if (code) break;
      unique_fd socket(::accept4(ready.native_handle(), nullptr, nullptr, SOCK_CLOEXEC));
      if (socket)
        serve(std::move(socket));
      else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
        co_await pause();
    }
    listeners_.erase(at);
  }

  /// Out of descriptors: the listener stays readable, and asking again at once would only spin.
  asio::awaitable<void> pause() {
    log().error("accept a client: {}", describe_errno(errno));
    asio::steady_timer timer(control_, std::chrono::milliseconds(100));
    (void)co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }

  /// The queue with the fewest clients.
  [[nodiscard]] std::size_t choose_queue() const {
    std::vector<std::size_t> load(device_.queue_count());
    for (const auto& each : seats_)
      ++load[each.queue];
    return static_cast<std::size_t>(std::min_element(load.begin(), load.end()) - load.begin());
  }

  asio::awaitable<void> serve_one(unique_fd socket, std::list<seat>::iterator at) {
    auto& queue = device_.queue(at->queue);
    auto client = co_await make_connection(std::move(socket), *at);
    bool agreed = false;
    bool said_goodbye = false;
    if (client) {
      at->client = client;
      for (auto& each : at->untold)
        tell(client, std::move(each));
      auto run = [&]() -> asio::awaitable<void> {
        agreed = co_await client->run();
        said_goodbye = client->said_goodbye();
      };
      co_await async::run_on(queue.executor(), run);
    }
    if (!agreed) ++statistics_.failed_handshakes;
    const auto ended = std::move(at->ended);
    seats_.erase(at);
    // Its socket and timers belong to that thread.
    auto drop = [gone = std::move(client)]() mutable { gone.reset(); };
    co_await async::call_on(queue.executor(), std::move(drop));
    if (ended) ended(said_goodbye);
  }

  /// Null, and the log says why, if its socket is none.
  asio::awaitable<connection_ptr> make_connection(unique_fd socket, const seat& at) {
    const auto queue_index = at.queue;
    auto& queue = device_.queue(queue_index);
    connection_options how;
    how.haggling.exports.push_back(describe(shape_, options_));
    how.haggling.default_export = options_.export_name;
    how.haggling.agreed_beforehand = static_cast<bool>(at.ended);
    how.haggling.tls = options_.tls;
    how.credentials = options_.credentials;
    how.handshake_limit = options_.handshake_limit;
    const auto number = ++numbers_;
    connection_ptr client;
    try {
      auto make = [&] {
        client = std::make_shared<connection>(number, std::move(socket), queue, queue_index,
                                              std::move(how));
      };
      co_await async::call_on(queue.executor(), make);
    } catch (const std::exception& problem) {
      log().info("client {}: {}", number, problem.what());
    }
    co_return client;
  }

  asio::any_io_executor control_;
  blk::block_device& device_;
  server_options options_;
  blk::geometry shape_;
  async::nursery tasks_;
  std::list<asio::posix::stream_descriptor*> listeners_;
  std::list<seat> seats_;
  server_statistics statistics_;
  std::uint64_t numbers_ = 0;
  bool stopping_ = false;
};

server::server(const async::asio::any_io_executor& control, blk::block_device& device,
               server_options options)
    : state_(std::make_shared<state>(control, device, std::move(options))) {}

server::~server() = default;

void server::listen(unique_fd listener) {
  state_->listen(std::move(listener));
}

void server::serve(unique_fd socket) {
  state_->serve(std::move(socket));
}

void server::serve_agreed(unique_fd socket, std::size_t queue, std::function<void(bool)> ended) {
  state_->serve_agreed(std::move(socket), queue, std::move(ended));
}

std::uint16_t server::transmission_flags() const {
  return state_->flags();
}

void server::reshape(const blk::geometry& shape) {
  state_->reshape(shape);
}

async::asio::awaitable<void> server::stop() {
  return state_->stop();
}

void server::hang_up() {
  state_->hang_up();
}

server_statistics server::statistics() const noexcept {
  return state_->statistics();
}

async::asio::awaitable<std::vector<client_statistics>> server::clients() {
  return state_->clients();
}

}  // namespace xenpv::nbd
