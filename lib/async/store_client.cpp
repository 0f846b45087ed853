#include "xenpv/async/store_client.hpp"

#include <boost/asio/post.hpp>

#include <utility>

#include "async/store_client_state.hpp"
#include "xenpv/async/run_on.hpp"

namespace xenpv::async {
namespace {

/// Runs `function(store)` on the control thread.
template <class Function>
auto on_control(std::shared_ptr<store_client_state> state, Function function) {
  auto control = state->control();
  return call_on(std::move(control),
                 [state = std::move(state), function = std::move(function)]() mutable {
                   return state->with_store(function);
                 });
}

}  // namespace

store_client::store_client(asio::any_io_executor control, xen::store store,
                           store_client_options options)
    : state_(std::make_shared<store_client_state>(std::move(control), std::move(store), options)) {
  asio::post(state_->control(), [state = state_] { state->start(); });
}

store_client::~store_client() {
  const auto control = state_->control();
  asio::post(control, [state = std::move(state_)] { state->close(); });
}

store_client::executor_type store_client::get_executor() const noexcept {
  return state_->control();
}

asio::awaitable<std::string> store_client::read(std::string path) {
  return on_control(state_,
                    [path = std::move(path)](xen::store& store) { return store.read(path); });
}

asio::awaitable<std::optional<std::string>> store_client::read_if_exists(std::string path) {
  return on_control(
      state_, [path = std::move(path)](xen::store& store) { return store.read_if_exists(path); });
}

asio::awaitable<std::vector<std::string>> store_client::list(std::string path) {
  return on_control(state_,
                    [path = std::move(path)](xen::store& store) { return store.list(path); });
}

asio::awaitable<std::optional<std::vector<std::string>>> store_client::list_if_exists(
    std::string path) {
  return on_control(
      state_, [path = std::move(path)](xen::store& store) { return store.list_if_exists(path); });
}

asio::awaitable<void> store_client::write(std::string path, std::string value) {
  return on_control(state_, [path = std::move(path), value = std::move(value)](xen::store& store) {
    store.write(path, value);
  });
}

asio::awaitable<bool> store_client::write_if_exists(std::string path, std::string value) {
  return on_control(state_, [path = std::move(path), value = std::move(value)](xen::store& store) {
    return store.write_if_exists(path, value);
  });
}

asio::awaitable<void> store_client::make_directory(std::string path) {
  return on_control(state_,
                    [path = std::move(path)](xen::store& store) { store.make_directory(path); });
}

asio::awaitable<bool> store_client::remove(std::string path) {
  return on_control(state_,
                    [path = std::move(path)](xen::store& store) { return store.remove(path); });
}

asio::awaitable<std::vector<xen::store_permission>> store_client::permissions(std::string path) {
  return on_control(
      state_, [path = std::move(path)](xen::store& store) { return store.permissions(path); });
}

asio::awaitable<void> store_client::set_permissions(std::string path,
                                                    std::vector<xen::store_permission> list) {
  return on_control(state_, [path = std::move(path), list = std::move(list)](xen::store& store) {
    store.set_permissions(path, list);
  });
}

asio::awaitable<std::string> store_client::domain_path(domid domain) {
  return on_control(state_, [domain](xen::store& store) { return store.domain_path(domain); });
}

asio::awaitable<bool> store_client::is_domain_introduced(domid domain) {
  return on_control(state_,
                    [domain](xen::store& store) { return store.is_domain_introduced(domain); });
}

asio::awaitable<std::optional<domid>> store_client::own_domid() {
  return on_control(state_, [](xen::store& store) { return store.own_domid(); });
}

asio::awaitable<void> store_client::transact(std::function<void(xen::store_transaction&)> body) {
  return on_control(state_, [body = std::move(body)](xen::store& store) { store.transact(body); });
}

asio::awaitable<watch_stream> store_client::watch(std::string path) {
  auto control = state_->control();
  return call_on(std::move(control),
                 [state = state_, path = std::move(path)] { return state->start_watch(path); });
}

asio::awaitable<void> store_client::close() {
  auto control = state_->control();
  return call_on(std::move(control), [state = state_] { state->close(); });
}

}  // namespace xenpv::async
