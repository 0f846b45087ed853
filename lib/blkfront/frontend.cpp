#include "xenpv/blkfront/frontend.hpp"

#include <algorithm>
#include <type_traits>

#include "base/enum_name.hpp"
#include "blkfront/connection.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::blkfront {

std::string_view to_string(flush_support support) noexcept {
  return enum_name<flush_support::ignored>(support, "none", "cache", "barrier", "ignored");
}

std::string_view to_string(device_state state) noexcept {
  return enum_name<device_state::closed>(state, "connected", "recovering", "unplugged", "failed",
                                         "closed");
}

// g++ 12 may destroy a calling coroutine's temporaries twice, including default arguments.
static_assert(std::is_trivially_copyable_v<options>);

asio::awaitable<std::unique_ptr<frontend>> frontend::open(async::guest_session& session,
                                                          std::string device, options options) {
  return open_again(session, std::move(device), options, {});
}

asio::awaitable<std::unique_ptr<frontend>> frontend::open_again(async::guest_session& session,
                                                                std::string device, options options,
                                                                std::string identity) {
  const bool is_number = !device.empty() && std::all_of(device.begin(), device.end(), [](char c) {
    return c >= '0' && c <= '9';
  });
  if (is_number) device = "device/vbd/" + device;
  auto opened =
      std::make_shared<connection>(session, std::move(device), options, std::move(identity));
  co_await opened->open();
  co_return std::unique_ptr<frontend>(new frontend(std::move(opened)));
}

frontend::frontend(std::shared_ptr<connection> c) noexcept : connection_(std::move(c)) {}
frontend::~frontend() {
  connection_->on_change({});
  if (connection_->is_closed()) return;
  log().warn("{}: destroyed without close(); closing it now", facts().device);
  connection_->abandon();
}

frontend::executor_type frontend::get_executor() const {
  return connection_->control();
}

std::size_t frontend::queue_count() const noexcept {
  return connection_->queues().size();
}

blk::block_queue& frontend::queue(std::size_t index) noexcept {
  return connection_->queues().queue(index);
}

const connection_facts& frontend::facts() const noexcept {
  return connection_->facts();
}

const blk::geometry& frontend::shape() const noexcept {
  return connection_->shape();
}

device_state frontend::state() const noexcept {
  return connection_->state();
}

const std::optional<error>& frontend::failure_reason() const noexcept {
  return connection_->failure_reason();
}

void frontend::on_change(std::function<void()> callback) {
  connection_->on_change(std::move(callback));
}

asio::awaitable<void> frontend::read(std::uint64_t offset, std::span<std::byte> buffer) {
  auto& first = queue(0);
  return async::run_on(first.get_executor(), [=, &first] { return first.read(offset, buffer); });
}

asio::awaitable<void> frontend::write(std::uint64_t offset, std::span<const std::byte> data,
                                      bool fua) {
  auto& first = queue(0);
  return async::run_on(first.get_executor(),
                       [=, &first] { return first.write(offset, data, fua); });
}

asio::awaitable<void> frontend::flush() {
  auto& first = queue(0);
  return async::run_on(first.get_executor(), [&first] { return first.flush(); });
}

asio::awaitable<void> frontend::discard(std::uint64_t offset, std::uint64_t length) {
  auto& first = queue(0);
  return async::run_on(first.get_executor(), [=, &first] { return first.discard(offset, length); });
}

asio::awaitable<std::string> frontend::identity() {
  return connection_->identity();
}

asio::awaitable<std::vector<queue_statistics>> frontend::statistics() {
  return connection_->statistics();
}

const recovery_statistics& frontend::recovery() const noexcept {
  return connection_->recovery();
}

asio::awaitable<void> frontend::close() {
  return connection_->close();
}

}  // namespace xenpv::blkfront
