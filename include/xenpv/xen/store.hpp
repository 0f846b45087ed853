// A connection to xenstore (libxenstore). Every call blocks for a round trip, so do not use this
// class on data-path threads (async/store_client.hpp is the awaitable interface). Used by one
// thread at a time. libxenstore starts a reader thread at the first watch.
//
// Paths may be relative ("device/vbd/51712"): xenstored resolves them against the home directory of
// this domain. libxenstore changes the action of SIGPIPE around every request, so ignore SIGPIPE
// process-wide in main().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/types.hpp"

struct xs_handle;

namespace xenpv::xen {

/// One entry of a node's permissions. The first entry names the node's owner and sets the default
/// for all other domains.
struct store_permission {
  domid domain;        ///< the domain to which the entry applies
  bool read = false;   ///< may read the node and list its children
  bool write = false;  ///< may write the node and create children
  friend bool operator==(const store_permission&, const store_permission&) = default;
};

/// An event of a watch: the node or its subtree may have changed.
struct store_event {
  std::string path;   ///< the node that changed; relative if the watched path is
  std::string token;  ///< the watch's token
  friend bool operator==(const store_event&, const store_event&) = default;
};

/// Operations that are available both inside and outside a transaction. For a missing node, read()
/// and list() throw ENOENT; the *_if_exists forms return nullopt, and throw all other errors.
class store_operations {
 public:
  /// Returns the value of the node, which may contain any bytes.
  [[nodiscard]] std::string read(const std::string& path) const;
  /// Like read(), but returns nullopt for a missing node.
  [[nodiscard]] std::optional<std::string> read_if_exists(const std::string& path) const;
  /// Returns the names of the child nodes.
  [[nodiscard]] std::vector<std::string> list(const std::string& path) const;
  /// Like list(), but returns nullopt for a missing node.
  [[nodiscard]] std::optional<std::vector<std::string>> list_if_exists(
      const std::string& path) const;
  /// Creates the node and its missing parents.
  void write(const std::string& path, std::string_view value) const;
  /// Creates the node, with an empty value, and its missing parents. Leaves an existing node as it
  /// is.
  void make_directory(const std::string& path) const;
  /// Removes the node and its subtree; a missing node is not an error. Returns false if xenstored
  /// reports the node as missing, which it does only if the parent is missing too.
  bool remove(const std::string& path) const;
  /// Returns the permissions of the node, the owner first.
  [[nodiscard]] std::vector<store_permission> permissions(const std::string& path) const;
  /// Replaces the permissions of the node. Throws errc::invalid_argument for an empty list.
  void set_permissions(const std::string& path, std::span<const store_permission> list) const;

 protected:
  /// Does not take ownership of `handle`.
  store_operations(xs_handle* handle, std::uint32_t transaction) noexcept
      : handle_(handle), transaction_(transaction) {}
  ~store_operations() = default;

  xs_handle* handle_;          ///< nullptr for a moved-from store
  std::uint32_t transaction_;  ///< 0 (XBT_NULL): none
};

/// Created only by store::transact().
class store_transaction : public store_operations {
 private:
  friend class store;
  store_transaction(xs_handle* handle, std::uint32_t transaction) noexcept
      : store_operations(handle, transaction) {}
};

class store : public store_operations {
 public:
  /// Connects to xenstored through XENSTORED_PATH, its default socket or /dev/xen/xenbus. Throws
  /// `failure`.
  [[nodiscard]] static store open();

  store(store&& other) noexcept;
  store& operator=(store&& other) noexcept;
  ~store();

  /// Runs `body` in a transaction and commits. xenstored returns EAGAIN if another client changed
  /// nodes that the transaction accessed. `body` then runs again, at most `attempts` (one or more)
  /// times in total; after that, EAGAIN is thrown. An exception from `body` aborts the transaction
  /// and propagates, except for a `failure` with EAGAIN, which counts as a conflict.
  void transact(const std::function<void(store_transaction&)>& body, unsigned attempts = 100);

  /// Writes a node if it exists; otherwise returns false without creating the node. Uses one
  /// transaction, so that the node is not recreated if the toolstack removes its directory at the
  /// same time. Throws the same errors as transact().
  [[nodiscard]] bool write_if_exists(const std::string& path, std::string_view value);

  /// Watches a node and its subtree. The first event arrives immediately, even if the node does not
  /// exist.
  void watch(const std::string& path, const std::string& token);
  /// Stops the watch; next_event() may still return events that are already queued for it.
  void unwatch(const std::string& path, const std::string& token);
  /// Returns a descriptor that is readable while events are queued. It does *not* become readable
  /// when the connection to xenstored is lost: poll is_connected() from a slow timer.
  [[nodiscard]] int watch_descriptor();
  /// Returns the next queued event, or nullopt if there is none.
  [[nodiscard]] std::optional<store_event> next_event();
  /// Sends a cheap request that fails only if the connection to xenstored is lost. Returns false in
  /// that case; other calls then throw errc::lost_connection.
  [[nodiscard]] bool is_connected() const noexcept;

  /// Returns a domain's home directory ("/local/domain/3"), even if the domain does not exist.
  [[nodiscard]] std::string domain_path(domid domain) const;
  /// Returns true if the domain has been introduced to xenstored. Throws EACCES outside the control
  /// domain.
  [[nodiscard]] bool is_domain_introduced(domid domain) const;
  /// Returns this domain's ID, read from the relative node `domid`. nullopt if the toolstack did
  /// not write that node.
  [[nodiscard]] std::optional<domid> own_domid() const;

 private:
  explicit store(xs_handle* handle) noexcept;
};

}  // namespace xenpv::xen
