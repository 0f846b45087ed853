// The events of one xenstore watch, awaited one at a time. Created by store_client::watch();
// move-only; destroying it ends the watch. An event only means that a node at or below the path may
// have changed.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "xenpv/async/asio.hpp"

namespace xenpv::async {

/// The maximum number of events queued for a slow reader. xenstored sends only a few events per
/// handshake; a reader this far behind should read the tree again.
inline constexpr std::size_t watch_stream_capacity = 64;

/// One event of a watch_stream.
struct watch_event {
  std::string path;  ///< the changed path; the watched path if `overflowed`
  /// Events were dropped because the reader was too far behind: read everything below the path
  /// again.
  bool overflowed = false;
  friend bool operator==(const watch_event&, const watch_event&) = default;
};

class watch_stream {
 public:
  using executor_type = asio::any_io_executor;

  watch_stream(watch_stream&& other) noexcept;
  watch_stream& operator=(watch_stream&& other) noexcept;
  ~watch_stream();

  /// The watched path, as passed to store_client::watch().
  [[nodiscard]] const std::string& path() const noexcept;
  /// The client's control executor, on which events arrive; empty for a moved-from stream.
  [[nodiscard]] executor_type get_executor() const noexcept;

  /// Returns the next event, in order of arrival. When the stream is full, a new event for a path
  /// that is already queued is merged with the queued event; otherwise a single event marked
  /// `overflowed` replaces all events.
  ///
  /// Executor: any. Only one caller at a time; otherwise throws `failure` (invalid_argument).
  /// Cancellation: terminal, partial, total; does not lose events. Errors: errc::lost_connection if
  /// the connection to xenstored is lost (after all earlier events); operation_aborted if the
  /// client was closed.
  [[nodiscard]] asio::awaitable<watch_event> next();

 private:
  friend class store_client;
  friend class store_client_state;
  struct subscription;
  explicit watch_stream(std::shared_ptr<subscription> watch) noexcept;
  std::shared_ptr<subscription> watch_;
};

}  // namespace xenpv::async
