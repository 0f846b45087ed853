// Starts and stops a server, and reports its statistics; see server_state.hpp.
#include "xenpv/nbd/server.hpp"

#include <fmt/format.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "nbd/server_state.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::nbd {
namespace {

using phase = client_slot::phase;

/// Clients of serve() do not come from a listener.
constexpr std::size_t no_listener = ~std::size_t{0};

admission_limits limits_of(const server_options& options) {
  admission_limits out;
  out.seats = options.max_connections;
  out.handshakes = options.max_handshakes;
  out.waiting = options.max_waiting;
  out.seats_per_address = options.max_per_address;
  return out;
}

/// The address for limits per address; empty: not limited.
std::string limited_source(const peer_address& peer) {
  return is_local(peer) ? std::string() : to_string(network_of(peer));
}

void check_credentials(tls_mode mode, const std::shared_ptr<const tls_credentials>& credentials) {
  if (mode == tls_mode::off || credentials) return;
  throw failure(make_error_code(errc::invalid_argument), "serve over TLS",
                "certificates or pre-shared keys are required");
}

}  // namespace

result<void> check_export_name(const std::string& name) {
  export_info info;
  info.name = name;
  return validate(info);
}

server::state::state(const asio::any_io_executor& control, server_options options)
    : control_(control),
      options_(std::move(options)),
      handshakes_(options_.handshakes ? options_.handshakes : control_),
      tasks_(control),
      admission_(limits_of(options_)),
      acceptor_(control, acceptor_callbacks()),
      log_(std::make_shared<server_log>(control)),
      memory_(options_.memory_limit) {
  check_credentials(options_.tls, options_.credentials);
}

acceptor::callbacks server::state::acceptor_callbacks() {
  acceptor::callbacks out;
  out.accepted = [this](unique_fd socket, std::size_t listener) {
    welcome(std::move(socket), listener);
  };
  out.is_congested = [this] { return admission_.is_congested(); };
  out.free_descriptor = [this] { return free_descriptor(); };
  out.failed = [this](const std::string& problem) { log_->cannot_accept(problem); };
  return out;
}

void server::state::listen(unique_fd listener) {
  const auto number = listener_names_.size();
  listener_names_.push_back(listener_name(listener.get()));
  tasks_.spawn(acceptor_.run(std::move(listener), number));
}

void server::state::serve(unique_fd socket) {
  welcome(std::move(socket), no_listener);
}

void server::state::welcome(unique_fd socket, std::size_t listener) {
  if (stopping_) return;
  const auto peer = peer_of_client(socket.get());
  if (options_.access && options_.access->decide_address(peer) == access::none) {
    ++statistics_.refused;
    return log_->refused(
        fmt::format("{}: refused: the access list denies this address", to_string(peer)));
  }
  client_slot fresh;
  fresh.number = ++numbers_;
  fresh.name = fmt::format("client {} ({})", fresh.number, to_string(peer));
  const auto slot = slots_.add(std::move(fresh));
  if (const auto victim = admission_.arrive(slot->number, listener, limited_source(peer)))
    evict(*victim, "there are too many unfinished handshakes");
  tasks_.spawn(serve_one(std::move(socket), slot, listener));
}

bool server::state::free_descriptor() {
  const auto victim = admission_.make_room();
  if (victim)
    evict(*victim, "few file descriptors are left");
  else
    ++statistics_.refused;
  return victim.has_value();
}

void server::state::evict(admission::client_id number, std::string_view reason) {
  auto* const slot = slots_.find(number);
  if (slot == nullptr) return;  // about to leave
  ++statistics_.evicted;
  log_->evicted(fmt::format("{}: unfinished handshake ended: {}", slot->name, reason));
  client_slots::post(*slot, [](connection& client) { client.hang_up(); });
}

void server::state::serve_agreed(unique_fd socket, std::size_t queue,
                                 std::function<void(bool)> ended) {
  if (stopping_) return ended(false);
  client_slot fresh;
  fresh.number = ++numbers_;
  fresh.name = fmt::format("client {} (kernel)", fresh.number);
  fresh.is_kernel = true;
  fresh.now = phase::served;
  fresh.export_index = exports_.default_index();
  fresh.device = &exports_.device(fresh.export_index);
  fresh.queue = queue;
  fresh.ended = std::move(ended);
  const auto slot = slots_.add(std::move(fresh));
  tasks_.spawn(serve_kernel(std::move(socket), slot));
}

std::uint16_t server::state::flags() const {
  return nbd::transmission_flags(exports_.describe(exports_.default_index(), true), false);
}

void server::state::reshape(const blk::block_device& device, const blk::geometry& geometry) {
  exports_.reshape(device, geometry);
  for (auto& slot : slots_.all()) {
    if (slot.now != phase::served || slot.device != &device) continue;
    client_slots::post(slot, [info = describe(slot)](connection& client) { client.reshape(info); });
  }
}

void server::state::withdraw(const blk::block_device& device, const std::string& reason) {
  if (!exports_.withdraw(device, reason) || stopping_) return;
  for (auto& slot : slots_.all())
    if (slot.now == phase::waiting && slot.device == &device)
      if (const auto refusal = obstacle_to(slot.export_index))
        answer_waiting(slot.number, *refusal);
  auto& timer = withdrawals_.emplace_back(control_, options_.withdrawal_delay);
  timer.async_wait([weak = weak_from_this(), &device](boost::system::error_code code) {
    if (const auto self = weak.lock(); self && !code) self->drain_clients_of(device);
  });
}

void server::state::drain_clients_of(const blk::block_device& device) {
  for (auto& slot : slots_.all())
    if (slot.now == phase::served && slot.device == &device)
      client_slots::post(slot, [](connection& client) { client.drain(); });
}

void server::state::set_access(std::shared_ptr<const access_list> access) {
  options_.access = std::move(access);
}

void server::state::set_credentials(std::shared_ptr<const tls_credentials> credentials) {
  check_credentials(options_.tls, credentials);
  options_.credentials = std::move(credentials);
}

bool server::state::disconnect(std::uint64_t number) {
  auto* const slot = slots_.find(number);
  if (slot == nullptr) return false;
  client_slots::post(*slot, [](connection& client) {
    log().info("{}: disconnected by request", client.name());
    client.hang_up();
  });
  return true;
}

asio::awaitable<void> server::state::stop() {
  stopping_ = true;
  withdrawals_.clear();
  acceptor_.cancel();
  for (auto& slot : slots_.all())
    client_slots::post(slot, [is_served = slot.now == phase::served](connection& client) {
      is_served ? client.drain() : client.stop_handshake();
    });
  asio::steady_timer timeout(control_, options_.drain_limit);
  timeout.async_wait([self = shared_from_this()](boost::system::error_code code) {
    if (!code) self->hang_up();
  });
  co_await tasks_.join();
  timeout.cancel();
  log_->close();
}

void server::state::hang_up() {
  if (const auto served = slots_.count(phase::served); served > 0)
    log().warn("disconnecting clients with requests in flight: {}", served);
  for (auto& slot : slots_.all())
    client_slots::post(slot, [](connection& client) { client.hang_up(); });
}

server_statistics server::state::statistics() const {
  auto out = statistics_;
  out.connections = slots_.size();
  out.handshakes = slots_.count(phase::handshake);
  out.waiting = slots_.count(phase::waiting);
  out.memory_used = memory_.used();
  out.memory_most = memory_.most_used();
  out.memory_limit = memory_.limit();
  return out;
}

asio::awaitable<std::vector<client_statistics>> server::state::clients() {
  // A connection must be destroyed on its own thread, so this function does not own any.
  struct place {
    std::weak_ptr<connection> client;
    asio::any_io_executor thread;
  };
  std::vector<place> places;
  for (const auto& slot : slots_.all())
    if (slot.now == phase::served && slot.thread) places.push_back({slot.client, *slot.thread});
  std::vector<client_statistics> out;
  for (const auto& [weak, thread] : places) {
    auto take = [&watched = weak]() -> std::optional<client_statistics> {
      const auto client = watched.lock();
      return client ? std::optional(client->statistics()) : std::nullopt;
    };
    auto taken = co_await async::call_on(thread, take);
    if (taken) out.push_back(std::move(*taken));
  }
  co_return out;
}

server::server(const asio::any_io_executor& control, server_options options)
    : state_(std::make_shared<state>(control, std::move(options))) {}

server::~server() = default;

server::executor_type server::get_executor() const noexcept {
  return state_->control();
}

void server::add_export(blk::block_device& device, export_options options) {
  state_->exports().add(device, std::move(options));
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

void server::reshape(const blk::block_device& device, const blk::geometry& geometry) {
  state_->reshape(device, geometry);
}

void server::withdraw(const blk::block_device& device, const std::string& reason) {
  state_->withdraw(device, reason);
}

void server::set_access(std::shared_ptr<const access_list> access) {
  state_->set_access(std::move(access));
}

void server::set_credentials(std::shared_ptr<const tls_credentials> credentials) {
  state_->set_credentials(std::move(credentials));
}

bool server::disconnect(std::uint64_t number) {
  return state_->disconnect(number);
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
