// Awaitable interface to xen::store. Each request blocks for a round trip to xenstored, so all of
// them run on one control thread. Callers may use any executor and are resumed on it.
//
// Owned by main(). Requests of one client run one at a time, in the order in which they reach the
// control thread. Does not cache; retries only transactions.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/watch_stream.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::async {

/// Options of a store_client.
struct store_client_options {
  /// Interval between checks that xenstored is alive: losing the connection raises no event.
  std::chrono::milliseconds liveness_interval{5000};
};

/// All functions throw the errors of xen::store. Once the connection to xenstored is lost, they
/// throw `failure` with errc::lost_connection; after close(), with ECANCELED.
///
/// Executor: any. Cancellation: not supported. Every call waits for its request to complete, so
/// references captured by the body of transact() stay valid until the body returns.
class store_client {
 public:
  using executor_type = asio::any_io_executor;

  /// `control` must outlive the client and be run by one thread. Until close(), the client counts
  /// as outstanding work on `control`.
  store_client(asio::any_io_executor control, xen::store store, store_client_options options = {});
  /// Starts close() on the control executor, unless close() was called.
  ~store_client();
  store_client(const store_client&) = delete;
  store_client& operator=(const store_client&) = delete;

  /// The control executor, on which requests run.
  [[nodiscard]] executor_type get_executor() const noexcept;

  /// Calls the function of xen::store with this name. Returns its result or rethrows its error.
  /// @{
  [[nodiscard]] asio::awaitable<std::string> read(std::string path);
  [[nodiscard]] asio::awaitable<std::optional<std::string>> read_if_exists(std::string path);
  [[nodiscard]] asio::awaitable<std::vector<std::string>> list(std::string path);
  [[nodiscard]] asio::awaitable<std::optional<std::vector<std::string>>> list_if_exists(
      std::string path);
  [[nodiscard]] asio::awaitable<void> write(std::string path, std::string value);
  [[nodiscard]] asio::awaitable<void> make_directory(std::string path);
  [[nodiscard]] asio::awaitable<bool> remove(std::string path);
  [[nodiscard]] asio::awaitable<std::vector<xen::store_permission>> permissions(std::string path);
  [[nodiscard]] asio::awaitable<void> set_permissions(std::string path,
                                                      std::vector<xen::store_permission> list);
  [[nodiscard]] asio::awaitable<std::string> domain_path(domid domain);
  [[nodiscard]] asio::awaitable<bool> is_domain_introduced(domid domain);
  [[nodiscard]] asio::awaitable<std::optional<domid>> own_domid();
  /// @}

  /// Calls xen::store::write_if_exists: returns false and writes nothing if there is no node at
  /// `path`. Use it for nodes of a device that the toolstack may remove at any time.
  [[nodiscard]] asio::awaitable<bool> write_if_exists(std::string path, std::string value);

  /// Calls xen::store::transact(). `body` runs on the control thread, and again after each
  /// conflict. `body` must not use objects of threads other than the caller's; the caller stays
  /// suspended until `body` has returned.
  [[nodiscard]] asio::awaitable<void> transact(std::function<void(xen::store_transaction&)> body);

  /// Watches a node and its subtree. The first event is delivered immediately, whether or not the
  /// node exists.
  [[nodiscard]] asio::awaitable<watch_stream> watch(std::string path);

  /// Ends all watches (pending reads fail with operation_aborted) and closes the connection. The
  /// client then no longer counts as outstanding work. Idempotent.
  [[nodiscard]] asio::awaitable<void> close();

 private:
  std::shared_ptr<class store_client_state> state_;
};

}  // namespace xenpv::async
