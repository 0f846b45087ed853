// The awaitable face of xen::store. All of xenstore happens on one control thread, because every
// request blocks for a round trip; whoever asks may live on any executor and is resumed there.
//
// Owned by main(). Requests of one client run one after the other, in the order they reach the
// control thread. Caches nothing, and retries nothing but transactions.
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

struct store_client_options {
  /// How often to ask whether xenstored is alive. A lost xenstored does not wake anybody by itself.
  std::chrono::milliseconds liveness_interval{5000};
};

/// Calls throw what xen::store throws; once xenstored is lost, or after close(), every call throws
/// `failure` (errc::lost_connection, ECANCELED).
///
/// Executor: any. Cancellation: none; a request that was sent is answered, and what `transact`
/// refers to stays valid until it returns.
class store_client {
 public:
  /// `control` outlives the client, is run by one thread, and is kept from running dry until
  /// close().
  store_client(asio::any_io_executor control, xen::store store, store_client_options options = {});
  /// Begins a close() if nobody did; the control executor carries it out.
  ~store_client();
  store_client(const store_client&) = delete;
  store_client& operator=(const store_client&) = delete;

  [[nodiscard]] asio::awaitable<std::string> read(std::string path);
  [[nodiscard]] asio::awaitable<std::optional<std::string>> read_if_exists(std::string path);
  [[nodiscard]] asio::awaitable<std::vector<std::string>> list(std::string path);
  [[nodiscard]] asio::awaitable<std::optional<std::vector<std::string>>> list_if_exists(
      std::string path);
  [[nodiscard]] asio::awaitable<void> write(std::string path, std::string value);
  /// xen::store::write_if_exists: false, and nothing written, when there is no node at `path`. For
  /// nodes of a device that the toolstack may remove at any time.
  [[nodiscard]] asio::awaitable<bool> write_if_exists(std::string path, std::string value);
  [[nodiscard]] asio::awaitable<void> make_directory(std::string path);
  [[nodiscard]] asio::awaitable<bool> remove(std::string path);
  [[nodiscard]] asio::awaitable<std::vector<xen::store_permission>> permissions(std::string path);
  [[nodiscard]] asio::awaitable<void> set_permissions(std::string path,
                                                      std::vector<xen::store_permission> list);
  [[nodiscard]] asio::awaitable<std::string> domain_path(domid domain);
  [[nodiscard]] asio::awaitable<bool> is_domain_introduced(domid domain);
  [[nodiscard]] asio::awaitable<std::optional<domid>> own_domid();

  /// xen::store::transact: `body` runs on the control thread, again if others interfered, and must
  /// not touch what belongs to another thread, except that the caller is suspended meanwhile.
  [[nodiscard]] asio::awaitable<void> transact(std::function<void(xen::store_transaction&)> body);

  /// Watches a node and all below it. The first event comes at once, whether the node exists or
  /// not.
  [[nodiscard]] asio::awaitable<watch_stream> watch(std::string path);

  /// Ends all watches (their readers get operation_aborted) and closes the connection; the control
  /// context then runs dry as far as this client is concerned. Again is harmless.
  [[nodiscard]] asio::awaitable<void> close();

 private:
  std::shared_ptr<class store_client_state> state_;
};

}  // namespace xenpv::async
