// The simulated host's xenstored: the whole daemon except its sockets.
//
// It consumes and produces bytes of the wire protocol per connection; a test or the host's event
// loop moves them. Owned by the host's single thread. Identifies domains only by number: the host
// reports when a domain is introduced, released or restored. Follows C xenstored 4.17
// (docs/misc/xenstore.txt), and Linux's xenbus driver where it is visible (re-registered watches
// after a resume). Not modelled: the daemon's write rate limit, its memory quota and its logging.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/store_permission.hpp"
#include "sim/store_quota.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::sim {

/// Injected faults. 0 = off; n = every n-th request (or commit) of an unprivileged domain. A
/// request that fails has no effect; a transaction whose end fails is gone.
struct store_faults {
  std::uint32_t fail_every = 0;    ///< request fails with fail_errno
  int fail_errno = 5;              ///< EIO
  std::uint32_t eagain_every = 0;  ///< commit fails with EAGAIN (1 = every commit: a storm)
};

class store_service {
 public:
  enum class connection_id : std::uint64_t {};

  explicit store_service(store_quota quota = {});
  ~store_service();
  store_service(const store_service&) = delete;
  store_service& operator=(const store_service&) = delete;

  // The wire protocol.

  [[nodiscard]] connection_id attach(domid domain);
  /// Drops the connection's watches and transactions. Unknown ids are ignored here and below.
  void detach(connection_id id);
  /// Consumes any number of bytes: whole or partial messages. Returns false when the peer violated
  /// the protocol (payload too long); the caller then closes the socket and detaches.
  [[nodiscard]] bool receive(connection_id id, std::span<const std::byte> bytes);
  /// Takes the queued replies and watch events of this connection. While they are queued, equal
  /// watch events are merged, and events beyond store_unread_events_max are lost. Replies are not
  /// limited: do not receive from a client that does not read.
  [[nodiscard]] std::vector<std::byte> take_output(connection_id id);
  /// Takes the list of connections that have output, without duplicates. A connection whose output
  /// is not taken is listed again when more output is queued.
  [[nodiscard]] std::vector<connection_id> take_ready();

  // Domain lifetime, as reported by the toolstack and the hypervisor. Domain 0 is introduced from
  // the start and cannot be released.

  /// Fires @introduceDomain unless the domain is already introduced.
  void introduce(domid domain);
  /// Removes the nodes that the domain owns, with their subtrees, voids its permissions on other
  /// nodes, and fires @releaseDomain. Its connections stay until the host detaches them.
  void release(domid domain);
  [[nodiscard]] bool is_introduced(domid domain) const;
  /// The domain was restored, possibly with a new number. Moves its connections to `new_domain`;
  /// invalidates its open transactions except for their end (a commit fails with EAGAIN); resolves
  /// relative watches against the new number's directory and fires each watch once. The toolstack
  /// rebuilds the nodes.
  void resume(domid old_domain, domid new_domain);

  // Direct access with domain 0's rights, for the simulated toolstack. Paths are absolute, or
  // relative to domain 0's directory. Functions that change the store throw `failure` for an
  // invalid path.

  void write(const std::string& path, std::string_view value);
  /// nullopt: no such node.
  [[nodiscard]] std::optional<std::string> read(const std::string& path) const;
  /// Names in order of creation; empty when there is no such node.
  [[nodiscard]] std::vector<std::string> list(const std::string& path) const;
  /// Succeeds when the node does not exist.
  void remove(const std::string& path);
  /// `list` must not be empty, and the node must exist. Also for "@introduceDomain" and
  /// "@releaseDomain".
  void set_permissions(const std::string& path, std::span<const store_permission> list);

  /// Restarts the counting.
  void set_faults(const store_faults& faults);

  // Statistics, for tests and `xenpv-sim status`.

  [[nodiscard]] std::size_t connection_count() const;
  [[nodiscard]] std::size_t watch_count(domid domain) const;
  [[nodiscard]] std::size_t node_count(domid domain) const;
  /// Requests so far of all domains except 0.
  [[nodiscard]] std::uint64_t guest_request_count() const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace xenpv::sim
