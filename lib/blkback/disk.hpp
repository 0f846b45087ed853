// One disk of one frontend. Performs the xenstore handshake and controls the rings on their
// threads.
//
// Runs on the control thread. Owns its rings; shares its medium with the service, which keeps the
// medium when the disk's directory moves. Reports frontend, toolstack and medium errors in the log
// and in the error node; throws only if the connection to xenstored is lost.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "async/signal.hpp"
#include "blkback/disk_plan.hpp"
#include "blkback/handshake.hpp"
#include "blkback/medium.hpp"
#include "blkback/nodes.hpp"
#include "blkback/ring_server.hpp"
#include "xenpv/async/runtime.hpp"

namespace xenpv::blkback {

struct disk_place {
  std::string directory;  ///< relative to this domain's home directory: "backend/vbd/1/51728"
  std::string kind;       ///< "vbd", "qdisk"
};

/// Returns the medium for a plan: opens it, or reuses the open medium with the same name. Throws
/// `failure`.
using medium_source = std::function<std::shared_ptr<medium>(const disk_plan&)>;

class disk : public std::enable_shared_from_this<disk> {
 public:
  /// `restarted`: the directory is older than this process, so the frontend may be connected to an
  /// earlier backend process.
  disk(async::runtime& runtime, disk_place place, medium_source media, bool restarted);
  ~disk();
  disk(const disk&) = delete;
  disk& operator=(const disk&) = delete;

  /// Serves until the device is removed. Terminal cancellation releases the rings and leaves
  /// xenstore unchanged.
  [[nodiscard]] asio::awaitable<void> serve();
  /// Notifies the disk that a node below its directory changed.
  void wake();
  /// Returns when the disk has been announced or cannot be announced.
  [[nodiscard]] asio::awaitable<void> announced();

 private:
  /// A snapshot of the disk's nodes in xenstore.
  struct facts {
    nodes directory;
    std::string frontend;  ///< path
    domid frontend_domain{};
    wire::xenbus_state frontend_state = wire::xenbus_state::unknown;
    wire::xenbus_state state = wire::xenbus_state::unknown;  ///< in xenstore; own_ may differ
  };

  // disk.cpp: the state machine
  [[nodiscard]] asio::awaitable<void> run_until_gone();
  [[nodiscard]] asio::awaitable<bool> advance();
  [[nodiscard]] asio::awaitable<void> changed();
  [[nodiscard]] asio::awaitable<void> follow_frontend(std::string path);
  void remember(const facts& now);
  [[nodiscard]] situation make_situation(const facts& now) const;
  [[nodiscard]] asio::awaitable<bool> carry_out(step next, const facts& now);
  [[nodiscard]] asio::awaitable<void> apply_changes(const facts& now);
  [[nodiscard]] asio::awaitable<void> restart(const facts& now);
  [[nodiscard]] asio::awaitable<void> resize(std::uint64_t size);

  // disk_store.cpp: xenstore
  static void add_nodes(const xen::store_operations& store, const std::string& path,
                        const std::string& prefix, nodes& destination);
  [[nodiscard]] asio::awaitable<std::optional<facts>> read_facts();
  /// Writes the nodes in one transaction.
  [[nodiscard]] asio::awaitable<void> write_together(node_list entries);
  [[nodiscard]] asio::awaitable<void> publish(node_list entries, wire::xenbus_state state);
  [[nodiscard]] asio::awaitable<void> write_one_by_one(node_list entries);
  [[nodiscard]] asio::awaitable<void> report_error(std::string message);
  [[nodiscard]] asio::awaitable<void> open_medium();
  [[nodiscard]] std::string node(std::string_view name) const;

  // disk_rings.cpp: the rings
  [[nodiscard]] asio::awaitable<void> connect(const facts& now);
  [[nodiscard]] asio::awaitable<nodes> read_frontend(const facts& now);
  [[nodiscard]] asio::awaitable<void> take_over(const frontend_keys& keys, domid frontend);
  [[nodiscard]] asio::awaitable<void> drop_rings();
  [[nodiscard]] asio::awaitable<void> for_each_ring(std::function<void(ring_server&)> use);
  [[nodiscard]] asio::awaitable<void> fail(std::string reason);
  void reported(std::size_t index, const ring_status& status);

  struct served_ring {
    std::size_t cpu = 0;
    std::shared_ptr<ring_server> server;
    ring_status status;
  };

  async::runtime& runtime_;
  disk_place place_;
  medium_source media_;
  bool restarted_;
  std::optional<disk_plan> plan_;
  std::shared_ptr<medium> medium_;
  std::vector<served_ring> rings_;

  wire::xenbus_state own_ = wire::xenbus_state::initialising;
  bool asked_to_close_ = false;
  bool frontend_is_stale_ = false;
  bool vanished_ = false;       ///< by an injected fault; the disk does nothing until restarted
  bool announce_done_ = false;  ///< the disk has been announced or cannot be announced
  std::string fault_text_;      ///< the last value applied or rejected
  std::string size_text_;       ///< the last value applied or rejected

  bool dirty_ = true;
  async::signal change_;  ///< notified when `dirty_` or `announce_done_` becomes true
};

}  // namespace xenpv::blkback
