// The transmission phase as its connection uses it, independent of the stream type (session.hpp).
//
// Owned by the connection, on the thread of its queue.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <span>
#include <string>

#include "nbd/dispatcher.hpp"

namespace xenpv::nbd {

namespace asio = boost::asio;

class transmission {
 public:
  virtual ~transmission() = default;
  /// Serves until the client leaves or breaks the protocol, or until drain(); then answers the
  /// requests in flight. `first`: bytes already read. Returns the reason for the end.
  [[nodiscard]] virtual asio::awaitable<std::string> run(std::span<const std::byte> first) = 0;
  /// Accepts no more requests; answers those in flight.
  virtual void drain() = 0;
  /// The device was resized: checks requests against the new export.
  virtual void reshape(const export_info& info) = 0;
  /// The connection was cut: large requests end early.
  virtual void abandon() noexcept = 0;
  /// Whether the client sent NBD_CMD_DISC.
  [[nodiscard]] virtual bool disconnect_received() const noexcept = 0;
  [[nodiscard]] virtual const connection_statistics& statistics() const = 0;
};

}  // namespace xenpv::nbd
