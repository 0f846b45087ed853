// The implementation of a store_client. Runs on the control thread; other threads post to it.
#pragma once

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "async/watch_queue.hpp"
#include "xenpv/async/store_client.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::async {

/// A pending call of watch_stream::next(). Passed to the control thread and back.
struct next_request {
  using handler_type =
      asio::any_completion_handler<void(std::exception_ptr, std::optional<watch_event>)>;

  next_request(handler_type reader_handler, asio::any_io_executor reader_executor)
      : handler(std::move(reader_handler)), home(std::move(reader_executor)) {}

  handler_type handler;
  asio::any_io_executor home;  ///< the reader's executor, kept running until completion
};

struct watch_stream::subscription {
  subscription(std::string path, std::string watch_token,
               std::shared_ptr<store_client_state> client)
      : queue(std::move(path)), token(std::move(watch_token)), owner(std::move(client)) {}

  watch_queue queue;
  std::string token;
  std::shared_ptr<store_client_state> owner;
  std::shared_ptr<next_request> reader;
};

class store_client_state : public std::enable_shared_from_this<store_client_state> {
 public:
  using subscription = watch_stream::subscription;

  store_client_state(asio::any_io_executor control, xen::store store, store_client_options options);

  [[nodiscard]] const asio::any_io_executor& control() const noexcept { return control_; }

  void start();
  /// Calls `function` with the connection; detects whether the connection was lost.
  template <class Function>
  auto with_store(Function& function) {
    auto& connection = require_store();
    try {
      return function(connection);
    } catch (const failure& e) {
      if (e.code() == errc::lost_connection) lose();
      throw;
    }
  }

  [[nodiscard]] watch_stream start_watch(const std::string& path);
  void stop_watch(subscription& watch);
  void begin_next(subscription& watch, std::shared_ptr<next_request> request);
  void cancel_next(subscription& watch, const std::shared_ptr<next_request>& request);
  void close();

 private:
  [[nodiscard]] xen::store& require_store();
  void lose();
  void release();
  void wait_for_events();
  void take_events();
  void wait_for_liveness_check();
  void serve_reader(subscription& watch);
  void fail_reader(subscription& watch);
  [[nodiscard]] std::exception_ptr reason_for_end() const;

  asio::any_io_executor control_;
  store_client_options options_;
  std::optional<xen::store> store_;
  bool lost_ = false;
  std::uint64_t watches_made_ = 0;
  // Weak because a stream that outlives the client does not unregister.
  std::map<std::string, std::weak_ptr<subscription>> watches_;  ///< by token
  asio::posix::stream_descriptor readable_;  ///< a duplicate of the library's descriptor
  asio::steady_timer liveness_;
};

}  // namespace xenpv::async
