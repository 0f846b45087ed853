// The simulated host's xenstored: the whole daemon except for its sockets.
//
// Consumes and produces the wire protocol of each connection as bytes; a test or the host's event
// loop transfers the bytes. Used only on the host thread. Identifies domains by their ID; the host
// reports when a domain is introduced, released or restored. Follows C xenstored 4.17
// (docs/misc/xenstore.txt), and the Linux xenbus driver where its behaviour is observable
// (re-registered watches after a resume). Does not model the daemon's write rate limit, memory
// quota and live update.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/store_control_options.hpp"
#include "sim/store_permission.hpp"
#include "sim/store_quota.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::sim {

/// Injected faults. 0: disabled; n: affects every n-th request (or commit) of an unprivileged
/// domain. A failed request has no effect, except that a failed request to end a transaction
/// discards the transaction.
struct store_faults {
  std::uint32_t fail_every = 0;    ///< requests that fail with fail_errno
  int fail_errno = 5;              ///< EIO
  std::uint32_t eagain_every = 0;  ///< commits that fail with EAGAIN (1: every commit)
};

class store_service {
 public:
  enum class connection_id : std::uint64_t {};

  explicit store_service(store_quota quota = {}, store_control_options controls = {});
  ~store_service();
  store_service(const store_service&) = delete;
  store_service& operator=(const store_service&) = delete;

  // The wire protocol.

  [[nodiscard]] connection_id attach(domid domain);
  /// Removes the connection with its watches and transactions. This function and those below ignore
  /// unknown IDs.
  void detach(connection_id id);
  /// Consumes any number of bytes: whole or partial messages. Returns false if the peer violated
  /// the protocol (payload too long); the caller must then close the socket and call detach().
  [[nodiscard]] bool receive(connection_id id, std::span<const std::byte> bytes);
  /// Removes and returns the queued replies and watch events of this connection. Equal watch events
  /// in the queue are merged, and watch events beyond store_unread_events_max are dropped. Replies
  /// are not limited, so do not call receive() for a client that does not read its replies.
  [[nodiscard]] std::vector<std::byte> take_output(connection_id id);
  /// Returns and clears the list of connections that have output, without duplicates. A connection
  /// whose output is not taken is listed again when more output is queued.
  [[nodiscard]] std::vector<connection_id> take_ready();

  // Domain lifetime, as reported by the toolstack and the hypervisor. Domain 0 is introduced
  // initially and cannot be released.

  /// Fires @introduceDomain unless the domain is already introduced.
  void introduce(domid domain);
  /// Removes all nodes owned by the domain, with their subtrees, voids its permissions on other
  /// nodes, and fires @releaseDomain. Its connections stay until the host detaches them.
  void release(domid domain);
  [[nodiscard]] bool is_introduced(domid domain) const;
  /// Must be called after a domain was restored, possibly with a new ID. Moves its connections to
  /// `new_domain`; invalidates its open transactions, which can then only be ended (a commit fails
  /// with EAGAIN); resolves relative watches against the new domain directory and fires each watch
  /// once. The toolstack rebuilds the nodes.
  void resume(domid old_domain, domid new_domain);

  // Direct access with the rights of domain 0, for the simulated toolstack. Paths are absolute or
  // relative to the directory of domain 0. Functions that change the store throw `failure` for an
  // invalid path.

  void write(const std::string& path, std::string_view value);
  /// Returns nullopt if the node does not exist.
  [[nodiscard]] std::optional<std::string> read(const std::string& path) const;
  /// Returns the names of the children in order of creation; empty if the node does not exist.
  [[nodiscard]] std::vector<std::string> list(const std::string& path) const;
  /// Succeeds even if the node does not exist.
  void remove(const std::string& path);
  /// `list` must not be empty, and the node must exist. Also accepts "@introduceDomain" and
  /// "@releaseDomain".
  void set_permissions(const std::string& path, std::span<const store_permission> list);

  /// Sets the faults and resets their counters.
  void set_faults(const store_faults& faults);

  // Statistics, for tests and `xenpv-sim status`.

  [[nodiscard]] std::size_t connection_count() const;
  [[nodiscard]] std::size_t watch_count(domid domain) const;
  [[nodiscard]] std::size_t node_count(domid domain) const;
  /// Number of requests received from all domains except domain 0.
  [[nodiscard]] std::uint64_t guest_request_count() const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace xenpv::sim
