// The connection's interface to the transmission phase, independent of the stream type. session.hpp
// implements it.
//
// Owned by the connection and used on the connection's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>

#include "nbd/dispatcher.hpp"

namespace xenpv::nbd {

class transmission {
 public:
  virtual ~transmission() = default;
  /// Serves until the client disconnects or violates the protocol, or until drain() is called. Then
  /// completes the requests in flight. `first`: bytes already received. Returns the reason why the
  /// session ended.
  [[nodiscard]] virtual asio::awaitable<std::string> run(std::span<const std::byte> first) = 0;
  /// Stops accepting requests; completes those in flight.
  virtual void drain() = 0;
  /// Call after the device was resized: checks later requests against the new export.
  virtual void reshape(const export_info& info) = 0;
  /// Call after the connection was closed: ends large requests early.
  virtual void abandon() noexcept = 0;
  /// Whether the client sent NBD_CMD_DISC.
  [[nodiscard]] virtual bool disconnect_received() const noexcept = 0;
  /// Whether the server ended the session because the client violated the protocol or made no
  /// progress. The result of run() is then of interest to the administrator.
  [[nodiscard]] virtual bool ended_by_server() const noexcept = 0;
  [[nodiscard]] virtual const connection_statistics& statistics() const = 0;
  /// When the client last sent something, to within a few milliseconds.
  [[nodiscard]] virtual std::chrono::steady_clock::time_point last_received() const noexcept = 0;
};

}  // namespace xenpv::nbd
