// Accepts clients on the listening sockets of a server. Pauses when descriptors run short or when
// too many evicted clients have not disconnected yet, so that further clients wait in the backlog
// instead of exhausting the process's resources.
//
// Owned by a server, on its control thread. Does not decide which clients may connect.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>
#include <functional>
#include <list>
#include <string>

#include "async/signal.hpp"
#include "xenpv/async/asio.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::nbd {

class acceptor {
 public:
  struct callbacks {
    std::function<void(unique_fd socket, std::size_t listener)> accepted;
    /// Whether to wait for a call to room_changed() before the next client.
    std::function<bool()> is_congested;
    /// Called if the new client uses a descriptor from the reserve. Disconnects another client to
    /// free a descriptor. Returns false if there is no such client; the new client is then
    /// disconnected.
    std::function<bool()> free_descriptor;
    std::function<void(std::string problem)> failed;
  };

  acceptor(const asio::any_io_executor& executor, callbacks server);

  /// Accepts clients until cancel(). Does not throw.
  [[nodiscard]] asio::awaitable<void> run(unique_fd socket, std::size_t listener);
  /// Ends all calls to run(). Later calls return immediately.
  void cancel();
  /// Call when a client has left.
  void room_changed() { room_changed_.notify(); }

 private:
  using listener_list = std::list<asio::posix::stream_descriptor*>;
  [[nodiscard]] asio::awaitable<void> pause();
  [[nodiscard]] asio::awaitable<void> accept_one(int listening, std::size_t listener);
  /// Moves `client` to a descriptor outside the reserve, when another client has left. Otherwise,
  /// closes it.
  [[nodiscard]] asio::awaitable<void> leave_reserve(unique_fd& client);

  asio::any_io_executor executor_;
  callbacks server_;
  listener_list listeners_;
  async::signal room_changed_;
  bool cancelled_ = false;
};

}  // namespace xenpv::nbd
