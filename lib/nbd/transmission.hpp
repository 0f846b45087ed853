// The transmission phase as its connection sees it, whatever the stream (session.hpp).
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
  /// Serves until the client leaves or breaks the protocol, or until drain(); then answers what is
  /// in flight. `first`: bytes that were read already. Returns why it ended.
  [[nodiscard]] virtual asio::awaitable<std::string> run(std::span<const std::byte> first) = 0;
  /// Takes no more requests; those taken are answered.
  virtual void drain() = 0;
  /// The export as requests are judged by: a resize changes it.
  virtual void reshape(const export_info& now) = 0;
  /// The connection was cut: requests that take long end early.
  virtual void abandon() noexcept = 0;
  /// Whether it was the client that ended it, in the proper way (NBD_CMD_DISC).
  [[nodiscard]] virtual bool said_goodbye() const noexcept = 0;
  [[nodiscard]] virtual const connection_statistics& statistics() const = 0;
};

}  // namespace xenpv::nbd
