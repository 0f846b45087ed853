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

#include "async/nursery.hpp"
#include "nbd/connection.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::nbd {
namespace {

using connection_ptr = std::shared_ptr<connection>;

/// An accepted client.
struct client_slot {
  std::size_t queue = 0;
  connection_ptr client{};  ///< null until the queue's thread has created it
  /// Actions to post for `client` once it exists.
  std::vector<std::function<void(connection&)>> pending{};
  /// Set only for clients of serve_agreed(), which do not count towards max_connections.
  std::function<void(bool)> ended{};
};

export_info describe(const blk::geometry& geometry, const server_options& options) {
  export_info out;
  out.name = options.export_name;
  out.description = options.description;
  out.size = geometry.size;
  out.preferred_block = std::max<std::uint32_t>(4096, geometry.physical_sector_size);
  out.read_only = options.read_only || geometry.read_only;
  out.can_flush = out.can_fua = geometry.can_flush;
  out.can_trim = geometry.can_discard;
  out.can_write_zeroes = true;
  // Offers fast-zero requests but fails them immediately, so that clients write the zeros
  // themselves.
  out.can_fast_zero = true;
  out.zeroes_are_fast = false;
  out.can_multi_conn = options.multi_conn;
  return out;
}

}  // namespace

result<void> check_export_name(const std::string& name) {
  export_info info;
  info.name = name;
  return validate(info);
}

class server::state : public std::enable_shared_from_this<server::state> {
 public:
  state(const asio::any_io_executor& control, blk::block_device& device, server_options options)
      : control_(control), device_(device), options_(std::move(options)), tasks_(control) {
    if (options_.tls != tls_mode::off && !options_.credentials)
      throw failure(make_error_code(errc::invalid_argument), "serve over TLS",
                    "certificates or pre-shared keys are required");
    geometry_ = device_.queue(0).shape();
    validate(describe(geometry_, options_)).value();
  }

  [[nodiscard]] const asio::any_io_executor& control() const noexcept { return control_; }

  void listen(unique_fd listener) {
    // Non-blocking because a waiting client may have disconnected before accept is called.
    ::fcntl(listener.get(), F_SETFL, O_NONBLOCK);
    tasks_.spawn(accept_all(std::move(listener)));
  }

  void serve(unique_fd socket) {
    if (stopping_) return;
    const auto connected = static_cast<unsigned>(std::count_if(
        slots_.begin(), slots_.end(), [](const client_slot& slot) { return !slot.ended; }));
    if (connected >= options_.max_connections) {
      ++statistics_.refused;
      log().warn("client refused: connection limit ({}) reached", connected);
      return;
    }
    ++statistics_.accepted;
    const auto slot = slots_.insert(slots_.end(), client_slot{choose_queue()});
    tasks_.spawn(serve_one(std::move(socket), slot));
  }

  void serve_agreed(unique_fd socket, std::size_t queue, std::function<void(bool)> ended) {
    if (stopping_) return ended(false);
    ++statistics_.accepted;
    const auto slot = slots_.insert(slots_.end(), client_slot{queue});
    slot->ended = std::move(ended);
    tasks_.spawn(serve_one(std::move(socket), slot));
  }

  [[nodiscard]] std::uint16_t flags() const {
    return nbd::transmission_flags(describe(geometry_, options_), false);
  }

  void reshape(const blk::geometry& geometry) {
    geometry_ = geometry;
    post_all([info = describe(geometry, options_)](connection& client) { client.reshape(info); });
  }

  asio::awaitable<void> stop() {
    stopping_ = true;
    for (auto* const listener : listeners_)
      listener->cancel();
    post_all([](connection& client) { client.drain(); });
    asio::steady_timer timeout(control_, options_.drain_limit);
    timeout.async_wait([self = shared_from_this()](boost::system::error_code code) {
      if (!code) self->hang_up();
    });
    co_await tasks_.join();
    timeout.cancel();
  }

  void hang_up() {
    if (!slots_.empty())
      log().warn("disconnecting clients with requests in flight: {}", slots_.size());
    post_all([](connection& client) { client.hang_up(); });
  }

  [[nodiscard]] server_statistics statistics() const {
    auto out = statistics_;
    out.connections = slots_.size();
    return out;
  }

  asio::awaitable<std::vector<client_statistics>> clients() {
    std::vector<client_statistics> out;
    std::vector<connection_ptr> connections;
    for (const auto& slot : slots_)
      if (slot.client) connections.push_back(slot.client);
    for (const auto& client : connections) {
      auto take = [client] { return client->statistics(); };
      out.push_back(co_await async::call_on(client->get_executor(), take));
    }
    co_return out;
  }

 private:
  static void post_to(const connection_ptr& client, std::function<void(connection&)> action) {
    asio::post(client->get_executor(), [client, action = std::move(action)] { action(*client); });
  }

  void post_all(const std::function<void(connection&)>& action) {
    for (auto& slot : slots_) {
      if (slot.client)
        post_to(slot.client, action);
      else
        slot.pending.push_back(action);
    }
  }

  asio::awaitable<void> accept_all(unique_fd listener) {
    asio::posix::stream_descriptor ready(control_, listener.release());
    const auto position = listeners_.insert(listeners_.end(), &ready);
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
    listeners_.erase(position);
  }

  /// Called when accept fails for lack of descriptors or memory: the listener stays readable, so an
  /// immediate retry would spin.
  asio::awaitable<void> pause() {
    log().error("cannot accept a client: {}", describe_errno(errno));
    asio::steady_timer timer(control_, std::chrono::milliseconds(100));
    (void)co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }

  /// The queue with the fewest clients.
  [[nodiscard]] std::size_t choose_queue() const {
    std::vector<std::size_t> load(device_.queue_count());
    for (const auto& slot : slots_)
      ++load[slot.queue];
    return static_cast<std::size_t>(std::min_element(load.begin(), load.end()) - load.begin());
  }

  asio::awaitable<void> serve_one(unique_fd socket, std::list<client_slot>::iterator slot) {
    auto& queue = device_.queue(slot->queue);
    auto client = co_await make_connection(std::move(socket), *slot);
    bool agreed = false;
    bool disconnect_received = false;
    if (client) {
      slot->client = client;
      for (auto& action : slot->pending)
        post_to(client, std::move(action));
      auto run = [&]() -> asio::awaitable<void> {
        agreed = co_await client->run();
        disconnect_received = client->disconnect_received();
      };
      co_await async::run_on(queue.get_executor(), run);
    }
    if (!agreed) ++statistics_.failed_handshakes;
    const auto ended = std::move(slot->ended);
    slots_.erase(slot);
    // The connection must be destroyed on the queue's thread, which uses its socket and timers.
    auto drop = [gone = std::move(client)]() mutable { gone.reset(); };
    co_await async::call_on(queue.get_executor(), std::move(drop));
    if (ended) ended(disconnect_received);
  }

  /// Returns null, after logging the reason, if `socket` is not a socket.
  asio::awaitable<connection_ptr> make_connection(unique_fd socket, const client_slot& slot) {
    const auto queue_index = slot.queue;
    auto& queue = device_.queue(queue_index);
    connection_options options;
    options.haggling.exports.push_back(describe(geometry_, options_));
    options.haggling.default_export = options_.export_name;
    options.haggling.agreed_beforehand = static_cast<bool>(slot.ended);
    options.haggling.tls = options_.tls;
    options.credentials = options_.credentials;
    options.handshake_limit = options_.handshake_limit;
    const auto number = ++numbers_;
    connection_ptr client;
    try {
      auto make = [&] {
        client = std::make_shared<connection>(number, std::move(socket), queue, queue_index,
                                              std::move(options));
      };
      co_await async::call_on(queue.get_executor(), make);
    } catch (const std::exception& problem) {
      log().info("client {}: {}", number, problem.what());
    }
    co_return client;
  }

  asio::any_io_executor control_;
  blk::block_device& device_;
  server_options options_;
  blk::geometry geometry_;
  async::nursery tasks_;
  std::list<asio::posix::stream_descriptor*> listeners_;
  std::list<client_slot> slots_;
  server_statistics statistics_;
  std::uint64_t numbers_ = 0;
  bool stopping_ = false;
};

server::server(const asio::any_io_executor& control, blk::block_device& device,
               server_options options)
    : state_(std::make_shared<state>(control, device, std::move(options))) {}

server::~server() = default;

server::executor_type server::get_executor() const noexcept {
  return state_->control();
}

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

void server::reshape(const blk::geometry& geometry) {
  state_->reshape(geometry);
}

asio::awaitable<void> server::stop() {
  return state_->stop();
}

void server::hang_up() {
  state_->hang_up();
}

server_statistics server::statistics() const noexcept {
  return state_->statistics();
}

asio::awaitable<std::vector<client_statistics>> server::clients() {
  return state_->clients();
}

}  // namespace xenpv::nbd
