// One disk of one frontend: carries the handshake out, over xenstore and the rings' threads.
//
// Lives on the control thread. Owns its rings; shares its medium with the service, which keeps the
// bytes when the disk moves. Everything that goes wrong is the frontend's, the toolstack's or the
// medium's, and goes to the log and to the error node; only a lost xenstored is thrown.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blkback/disk_plan.hpp"
#include "blkback/handshake.hpp"
#include "blkback/medium.hpp"
#include "blkback/nodes.hpp"
#include "blkback/ring_server.hpp"
#include "xenpv/async/runtime.hpp"

namespace xenpv::blkback {

struct disk_place {
  std::string directory;  ///< relative to our domain's home: "backend/vbd/1/51728"
  std::string kind;       ///< "vbd", "qdisk"
};

/// Gives the medium of a plan: opens it, or finds it again by its name. Throws `failure`.
using medium_source = std::function<std::shared_ptr<medium>(const disk_plan&)>;

class disk : public std::enable_shared_from_this<disk> {
 public:
  /// `restarted`: the directory is older than this process, and the frontend may be in the middle
  /// of something with another.
  disk(async::runtime& on, disk_place place, medium_source media, bool restarted);
  ~disk();
  disk(const disk&) = delete;
  disk& operator=(const disk&) = delete;

  /// Serves until the device is gone. Cancellation: terminal; lets the rings go and leaves xenstore
  /// as it is.
  [[nodiscard]] async::asio::awaitable<void> serve();
  /// Something below the directory changed.
  void wake();
  /// Returns when the disk has been announced, or cannot be.
  [[nodiscard]] async::asio::awaitable<void> announced();

 private:
  /// The state of things in xenstore at one moment.
  struct facts {
    nodes directory;
    std::string frontend;  ///< path
    domid frontend_domain{};
    wire::xenbus_state frontend_state = wire::xenbus_state::unknown;
    wire::xenbus_state state = wire::xenbus_state::unknown;  ///< the node, not what we wrote
  };

  // disk.cpp: what happens next
  [[nodiscard]] async::asio::awaitable<void> look_until_gone();
  [[nodiscard]] async::asio::awaitable<bool> look();
  [[nodiscard]] async::asio::awaitable<void> changed();
  [[nodiscard]] async::asio::awaitable<void> follow_frontend(std::string path);
  void note(const facts& now);
  [[nodiscard]] situation judge(const facts& now) const;
  [[nodiscard]] async::asio::awaitable<bool> carry_out(step what, const facts& now);
  [[nodiscard]] async::asio::awaitable<void> obey(const facts& now);
  [[nodiscard]] async::asio::awaitable<void> restart(const facts& now);
  [[nodiscard]] async::asio::awaitable<void> follow_size(std::uint64_t wanted);

  // disk_store.cpp: xenstore
  static void add_nodes(const xen::store_operations& store, const std::string& path,
                        const std::string& prefix, nodes& into);
  [[nodiscard]] async::asio::awaitable<std::optional<facts>> read_facts();
  [[nodiscard]] async::asio::awaitable<void> publish(node_list what, wire::xenbus_state state);
  [[nodiscard]] async::asio::awaitable<void> write_one_by_one(node_list what);
  [[nodiscard]] async::asio::awaitable<void> clear_error();
  [[nodiscard]] async::asio::awaitable<void> complain(std::string what);
  [[nodiscard]] async::asio::awaitable<void> open_medium();
  [[nodiscard]] std::string node(std::string_view name) const;

  // disk_rings.cpp: the rings
  [[nodiscard]] async::asio::awaitable<void> connect(const facts& now);
  [[nodiscard]] async::asio::awaitable<nodes> read_frontend(const facts& now);
  [[nodiscard]] async::asio::awaitable<void> take_over(const frontend_keys& keys, domid frontend);
  [[nodiscard]] async::asio::awaitable<void> drop_rings();
  [[nodiscard]] async::asio::awaitable<void> for_each_ring(std::function<void(ring_server&)> use);
  [[nodiscard]] async::asio::awaitable<void> fail(std::string why);
  void reported(std::size_t ring, const ring_status& status);

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
  bool vanished_ = false;  ///< by fault: does nothing until it is restarted
  bool settled_ = false;   ///< has been announced, or cannot be
  std::string fault_words_;
  std::string size_word_;  ///< followed already, or refused

  bool dirty_ = true;
  async::asio::steady_timer change_;  ///< never expires; cancelled by wake()
};

}  // namespace xenpv::blkback
