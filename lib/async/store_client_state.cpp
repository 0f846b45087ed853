#include "async/store_client_state.hpp"

#include <fmt/format.h>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>

#include <utility>

#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::async {
namespace {

/// Completes a reader's request on the reader's own thread.
void answer(std::shared_ptr<next_request> request, std::exception_ptr error,
            std::optional<watch_event> event) {
  const auto home = request->home;
  asio::post(home, [request = std::move(request), error = std::move(error),
                    event = std::move(event)]() mutable {
    std::move(request->handler)(std::move(error), std::move(event));
  });
}

}  // namespace

store_client_state::store_client_state(asio::any_io_executor control, xen::store store,
                                       store_client_options options)
    : control_(std::move(control)),
      options_(options),
      store_(std::move(store)),
      readable_(control_),
      liveness_(control_) {}

void store_client_state::start() {
  if (store_) wait_for_liveness_check();
}

xen::store& store_client_state::require_store() {
  if (lost_) throw failure(errc::lost_connection, "use xenstore", "xenstored has exited");
  if (!store_)
    throw failure(std::make_error_code(std::errc::operation_canceled), "use xenstore",
                  "the client was closed");
  return *store_;
}

watch_stream store_client_state::start_watch(const std::string& path) {
  auto& connection = require_store();
  const auto token = fmt::format("xenpv-{}", ++watches_made_);
  auto watch = std::make_shared<subscription>(path, token, shared_from_this());
  if (!readable_.is_open()) {
    auto duplicate = unique_fd::duplicate(connection.watch_descriptor());
    readable_.assign(duplicate.get());
    static_cast<void>(duplicate.release());
    wait_for_events();
  }
  // Register before the first event can arrive.
  watches_.emplace(token, watch);
  watch_stream stream(watch);
  const auto begin = [&](xen::store& store) { store.watch(path, token); };
  with_store(begin);
  return stream;
}

void store_client_state::stop_watch(subscription& watch) {
  if (watches_.erase(watch.token) == 0 || !store_) return;
  try {
    const auto end = [&](xen::store& store) { store.unwatch(watch.queue.path(), watch.token); };
    with_store(end);
  } catch (const failure& e) {
    log().debug("{}", e.what());
  }
}

void store_client_state::begin_next(subscription& watch, std::shared_ptr<next_request> request) {
  if (watch.reader) {
    answer(std::move(request),
           std::make_exception_ptr(failure(errc::invalid_argument,
                                           fmt::format("await events of {}", watch.queue.path()),
                                           "another next() call is pending")),
           std::nullopt);
    return;
  }
  watch.reader = std::move(request);
  serve_reader(watch);
}

void store_client_state::cancel_next(subscription& watch,
                                     const std::shared_ptr<next_request>& request) {
  // The request has already completed: its result is on its way to the reader.
  if (watch.reader != request) return;
  answer(std::exchange(watch.reader, nullptr),
         std::make_exception_ptr(boost::system::system_error(asio::error::operation_aborted)),
         std::nullopt);
}

void store_client_state::serve_reader(subscription& watch) {
  if (!watch.reader) return;
  if (auto event = watch.queue.pop())
    answer(std::exchange(watch.reader, nullptr), nullptr, std::move(event));
  else if (!store_)
    fail_reader(watch);
}

void store_client_state::fail_reader(subscription& watch) {
  if (watch.reader) answer(std::exchange(watch.reader, nullptr), reason_for_end(), std::nullopt);
}

std::exception_ptr store_client_state::reason_for_end() const {
  if (lost_)
    return std::make_exception_ptr(
        failure(errc::lost_connection, "await xenstore events", "xenstored has exited"));
  return std::make_exception_ptr(boost::system::system_error(asio::error::operation_aborted));
}

void store_client_state::wait_for_events() {
  readable_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [self = shared_from_this()](boost::system::error_code code) {
                         if (code || !self->store_) return;
                         self->take_events();
                         if (self->store_) self->wait_for_events();
                       });
}

void store_client_state::take_events() {
  try {
    while (auto event = store_->next_event()) {
      const auto entry = watches_.find(event->token);
      // An event may still arrive after its watch has ended.
      const auto watch = entry == watches_.end() ? nullptr : entry->second.lock();
      if (watch == nullptr) continue;
      watch->queue.push(std::move(event->path));
      serve_reader(*watch);
    }
  } catch (const failure&) {
    // All events sent before the connection was lost have been read.
    lose();
  }
}

void store_client_state::wait_for_liveness_check() {
  liveness_.expires_after(options_.liveness_interval);
  liveness_.async_wait([self = shared_from_this()](boost::system::error_code code) {
    if (code || !self->store_) return;
    if (self->store_->is_connected())
      self->wait_for_liveness_check();
    else
      self->lose();
  });
}

void store_client_state::lose() {
  if (lost_) return;
  lost_ = true;
  if (readable_.is_open()) take_events();
  log().error("xenstore: connection lost; watches and further requests will fail");
  release();
}

void store_client_state::close() {
  if (!store_) return;
  for (const auto& [token, weak] : watches_) {
    const auto watch = weak.lock();
    if (watch == nullptr) continue;
    try {
      store_->unwatch(watch->queue.path(), token);
    } catch (const failure& e) {
      log().debug("{}", e.what());
    }
  }
  release();
}

void store_client_state::release() {
  boost::system::error_code ignored;
  readable_.close(ignored);
  liveness_.cancel();
  store_.reset();
  for (const auto& [token, weak] : std::exchange(watches_, {})) {
    if (const auto watch = weak.lock()) fail_reader(*watch);
  }
}

}  // namespace xenpv::async
