// Follows each client of a server from accept to close. Each client is one coroutine on the control
// thread, which waits for the connection's work on other threads.
#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>
#include <variant>

#include "nbd/server_state.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::nbd {
namespace {

using phase = client_slot::phase;
using ending = handshake_result::ending;

/// Clients that may use several connections usually open this many.
constexpr unsigned connections_per_client = 4;

}  // namespace

asio::awaitable<void> server::state::serve_one(unique_fd socket, position slot,
                                               std::size_t listener) {
  auto options = negotiated_options(*slot, listener);
  co_await create(std::move(socket), slot, handshakes_, std::move(options));
  bool was_served = false;
  if (slot->client && co_await negotiate(slot)) was_served = co_await serve_export(slot);
  co_await remove(slot, was_served);
}

asio::awaitable<void> server::state::serve_kernel(unique_fd socket, position slot) {
  connection_options options;
  options.haggling.exports.push_back(describe(*slot));
  options.haggling.agreed_beforehand = true;
  const auto executor = exports_.device(slot->export_index).queue(slot->queue).get_executor();
  co_await create(std::move(socket), slot, executor, std::move(options));
  bool was_served = false;
  if (slot->client) was_served = co_await serve_export(slot);
  co_await remove(slot, was_served);
}

connection_options server::state::negotiated_options(const client_slot& slot,
                                                     std::size_t listener) {
  connection_options out;
  out.haggling.exports = exports_.describe_all(announces_multi_conn());
  if (!exports_.empty()) out.haggling.default_export = exports_.default_name();
  out.haggling.tls = options_.tls;
  out.credentials = options_.credentials;
  out.permissions = options_.access;
  out.handshake_limit = options_.handshake_limit;
  out.progress_limit = options_.progress_limit;
  if (listener < listener_names_.size()) out.listener = listener_names_[listener];
  out.authenticated = [weak = weak_from_this(), control = control_, number = slot.number] {
    asio::post(control, [weak, number] {
      if (const auto self = weak.lock()) self->admission_.authenticated(number);
    });
  };
  return out;
}

bool server::state::announces_multi_conn() const noexcept {
  return options_.max_connections >= connections_per_client;
}

export_info server::state::describe(const client_slot& slot) const {
  return exports_.describe(slot.export_index, slot.is_kernel || announces_multi_conn());
}

asio::awaitable<void> server::state::create(unique_fd socket, position slot,
                                            asio::any_io_executor executor,
                                            connection_options options) {
  connection_ptr client;
  try {
    auto make = [&] {
      client = std::make_shared<connection>(slot->number, std::move(socket), executor,
                                            std::move(options));
    };
    co_await async::call_on(executor, make);
  } catch (const std::exception& problem) {
    log_->failed(fmt::format("{}: {}", slot->name, problem.what()));
  }
  if (!client) co_return;
  slot->client = std::move(client);
  client_slots::arrive(*slot, executor);
}

asio::awaitable<bool> server::state::negotiate(position slot) {
  auto* const client = slot->client.get();
  handshake_result result;
  auto negotiation = [&]() -> asio::awaitable<void> { result = co_await client->negotiate(); };
  co_await async::run_on(handshakes_, negotiation);
  if (result.end != ending::selected) {
    report(*slot, result);
    co_return false;
  }
  const auto answer = co_await take_seat(slot);
  if (std::holds_alternative<client_gone>(answer)) co_return false;
  if (const auto* const refusal = std::get_if<seat_refusal>(&answer)) {
    auto refuse = [&]() -> asio::awaitable<void> { return client->refuse_choice(*refusal); };
    co_await async::run_on(handshakes_, refuse);
    co_return false;
  }
  auto accept = [&]() -> asio::awaitable<void> { result = co_await client->accept_choice(); };
  co_await async::run_on(handshakes_, accept);
  if (result.end == ending::selected) co_return true;
  report(*slot, result);
  co_return false;
}

asio::awaitable<seat_answer> server::state::take_seat(position slot) {
  slot->export_index = slot->client->export_index();
  slot->device = &exports_.device(slot->export_index);
  seat_answer out = seat_grant{};
  if (auto obstacle = obstacle_to(slot->export_index))
    out = std::move(*obstacle);
  else
    out = co_await request_seat(slot);
  if (const auto* const refusal = std::get_if<seat_refusal>(&out); refusal && !stopping_) {
    ++statistics_.refused;
    log_->refused(fmt::format("{}: refused: {}", slot->name, refusal->text));
  }
  co_return out;
}

asio::awaitable<seat_answer> server::state::request_seat(position slot) {
  const auto answer = admission_.request_seat(slot->number);
  const seat_refusal too_many{wire::nbd_reply::err_policy, "too many clients are waiting"};
  if (answer.displaced) answer_waiting(*answer.displaced, too_many);
  switch (answer.result) {
    case admission::verdict::seated:
      break;
    case admission::verdict::waiting:
      co_return co_await wait_for_seat(slot);
    case admission::verdict::address_is_full:
      co_return seat_refusal{wire::nbd_reply::err_policy,
                             fmt::format("connection limit ({}) for one address reached",
                                         admission_.limits().seats_per_address)};
    case admission::verdict::too_many_waiting:
      co_return too_many;
    case admission::verdict::evicted:
      co_return client_gone{};
  }
  co_return seat_grant{};
}

std::optional<seat_refusal> server::state::obstacle_to(std::size_t export_index) const {
  if (stopping_) return seat_refusal{wire::nbd_reply::err_shutdown, "the server is shutting down"};
  if (exports_.is_available(export_index)) return std::nullopt;
  return seat_refusal{wire::nbd_reply::err_unknown,
                      describe_unavailable(exports_.describe(export_index, false))};
}

asio::awaitable<seat_answer> server::state::wait_for_seat(position slot) {
  auto* const client = slot->client.get();
  slot->now = phase::waiting;
  log_->waits(
      fmt::format("{}: waits until another client leaves: connection limit ({}) reached "
                  "(raise --max-connections to serve more clients at a time)",
                  slot->name, options_.max_connections));
  seat_answer answer;
  auto wait = [&]() -> asio::awaitable<void> { answer = co_await client->wait_for_seat(); };
  co_await async::run_on(handshakes_, wait);
  slot->now = phase::handshake;
  if (std::holds_alternative<client_gone>(answer))
    log().debug("{}: left while it waited", slot->name);
  co_return answer;
}

void server::state::answer_waiting(admission::client_id number, const seat_answer& answer) {
  auto* const slot = slots_.find(number);
  if (slot == nullptr) return;  // about to leave; then leave() finds another client
  client_slots::post(*slot, [answer](connection& client) { client.answer_wait(answer); });
}

asio::awaitable<bool> server::state::serve_export(position slot) {
  auto* const client = slot->client.get();
  if (!slot->is_kernel) {
    slot->queue = slots_.least_used_queue(exports_.device(slot->export_index));
    slot->now = phase::served;
  }
  auto& queue = exports_.device(slot->export_index).queue(slot->queue);
  const bool is_there = co_await move(slot, queue);
  if (!is_there) co_return false;
  ++statistics_.accepted;
  std::string problem;
  auto serving = [&]() -> asio::awaitable<void> { problem = co_await client->serve(); };
  co_await async::run_on(queue.get_executor(), serving);
  if (!problem.empty()) log_->failed(fmt::format("{}: {}", slot->name, problem));
  co_return true;
}

asio::awaitable<bool> server::state::move(position slot, blk::block_queue& queue) {
  auto* const client = slot->client.get();
  const auto index = slot->queue;
  const auto info = describe(*slot);
  const shared_resources shared{&memory_, &exports_.scheduler(slot->export_index, index)};
  // Nothing may be posted to the old thread after the connection has left it.
  const auto old_thread = client_slots::depart(*slot);
  auto detach = [client] { client->detach(); };
  if (!slot->is_kernel) co_await async::call_on(old_thread, detach);
  std::string problem;
  auto attach = [&] {
    try {
      client->attach(queue, index, info, shared);
    } catch (const std::exception& error) {
      problem = error.what();
    }
  };
  co_await async::call_on(queue.get_executor(), attach);
  client_slots::arrive(*slot, queue.get_executor());
  if (obstacle_to(slot->export_index))
    client_slots::post(*slot, [](connection& late) { late.drain(); });
  if (!problem.empty()) log_->failed(fmt::format("{}: {}", slot->name, problem));
  co_return problem.empty();
}

asio::awaitable<void> server::state::remove(position slot, bool was_served) {
  if (!was_served) ++statistics_.failed_handshakes;
  auto client = std::move(slot->client);
  const auto thread = slot->thread;
  const auto ended = std::move(slot->ended);
  const auto number = slot->number;
  slots_.remove(slot);
  bool disconnect_received = false;
  if (client) {
    // The connection must be destroyed on its thread, which uses its socket and timers.
    auto drop = [&disconnect_received, gone = std::move(client)]() mutable {
      disconnect_received = gone->disconnect_received();
      gone.reset();
    };
    co_await async::call_on(*thread, std::move(drop));
  }
  for (const auto next : admission_.leave(number))
    answer_waiting(next, seat_grant{});
  acceptor_.room_changed();
  if (ended) ended(disconnect_received);
}

void server::state::report(const client_slot& client, const handshake_result& result) {
  const auto text = fmt::format("{}: {}", client.name, result.reason);
  if (result.end == ending::failed && !stopping_)
    log_->failed(text);
  else
    log().debug("{}", text);
}

}  // namespace xenpv::nbd
