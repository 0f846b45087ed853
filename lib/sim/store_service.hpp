// The simulated host's xenstored: the whole daemon but its sockets.
//
// Bytes of the wire protocol go in per connection, bytes come out per connection; a test or the
// host's event loop moves them. Owned by the host's single thread. Knows domains only as numbers:
// the host tells it when one is introduced, released or restored. Follows C xenstored 4.17
// (docs/misc/xenstore.txt); where Linux's xenbus driver shows (re-registered watches after a
// resume), it follows that. Not modelled: the daemon's write rate limit, its memory quota and its
// logging.
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

/// Misbehaviour on demand. 0 = off; n = every n-th request (or commit) of an unprivileged domain.
/// What is answered with an error has not been done; a transaction whose end fails is gone.
struct store_faults {
  std::uint32_t fail_every = 0;    ///< request answered with fail_errno
  int fail_errno = 5;              ///< EIO
  std::uint32_t eagain_every = 0;  ///< commit answered with EAGAIN (1 = every one: a storm)
};

class store_service {
 public:
  enum class connection_id : std::uint64_t {};

  explicit store_service(store_quota quota = {});
  ~store_service();
  store_service(const store_service&) = delete;
  store_service& operator=(const store_service&) = delete;

  // The wire.

  [[nodiscard]] connection_id attach(domid domain);
  /// Drops the connection's watches and transactions. Unknown ids are ignored here and below.
  void detach(connection_id id);
  /// Takes any number of bytes, whole messages or parts of them. False: the peer broke the protocol
  /// (payload too long); the caller closes the socket and detaches.
  [[nodiscard]] bool receive(connection_id id, std::span<const std::byte> bytes);
  /// Replies and watch events waiting for this connection; takes them. Until then, equal watch
  /// events are sent once, and events beyond store_unread_events_max are lost. Replies are not
  /// limited: do not receive from a client that does not read.
  [[nodiscard]] std::vector<std::byte> take_output(connection_id id);
  /// Connections that have output, each once; takes the list. One whose output is then not taken is
  /// listed again when there is more.
  [[nodiscard]] std::vector<connection_id> take_ready();

  // Domain life, told by the toolstack and the hypervisor. Domain 0 is introduced from the start
  // and cannot be released.

  /// Fires @introduceDomain, unless the domain is known already.
  void introduce(domid domain);
  /// Removes the nodes the domain owns, with everything below them, voids what it was permitted on
  /// others, and fires @releaseDomain. Its connections stay until the host detaches them.
  void release(domid domain);
  [[nodiscard]] bool is_introduced(domid domain) const;
  /// The domain was restored, maybe under a new number: its connections now belong to `after`, its
  /// open transactions are gone but for their end (a commit fails with EAGAIN), and each of its
  /// watches fires once; relative ones now mean the new number's directory. Nodes are the
  /// toolstack's care.
  void resume(domid before, domid after);

  // Direct access with domain 0's rights, for the simulated toolstack. Paths are absolute, or
  // relative to domain 0's directory. What changes something throws `failure` when the path is not
  // valid.

  void write(const std::string& path, std::string_view value);
  /// nullopt: there is no such node.
  [[nodiscard]] std::optional<std::string> read(const std::string& path) const;
  /// Names in order of creation; empty when there is no such node.
  [[nodiscard]] std::vector<std::string> list(const std::string& path) const;
  /// Absent nodes are fine.
  void remove(const std::string& path);
  /// `list` must not be empty, and the node must exist. Also for "@introduceDomain" and
  /// "@releaseDomain".
  void set_permissions(const std::string& path, std::span<const store_permission> list);

  /// Counting starts anew.
  void set_faults(const store_faults& faults);

  // Figures, for tests and `xenpv-sim status`.

  [[nodiscard]] std::size_t connection_count() const;
  [[nodiscard]] std::size_t watch_count(domid domain) const;
  [[nodiscard]] std::size_t node_count(domid domain) const;
  /// Requests so far of all domains but 0.
  [[nodiscard]] std::uint64_t guest_request_count() const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace xenpv::sim
