// Child coroutines with an owner: spawn them, cancel them, join them; nothing runs on unobserved.
//
// Belongs to one executor and, like everything here, to that executor's one thread: all members are
// called there (or before the context runs). Outlives its children by construction: destroying it
// while one is alive ends the program with a message, because the child would go on with dead
// references.
#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <exception>
#include <list>
#include <memory>

#include "xenpv/async/asio.hpp"

namespace xenpv::async {

class nursery {
 public:
  explicit nursery(asio::any_io_executor executor);
  ~nursery();
  nursery(const nursery&) = delete;
  nursery& operator=(const nursery&) = delete;

  /// Starts `body` as a child; on the executor's thread it runs at once up to its first suspension.
  /// Allowed while join() waits. From cancel() or a failure until join() has returned, a new child
  /// is started and then cancelled where it first suspends.
  ///
  /// An exception that leaves the child cancels its siblings and comes out of join(); only the
  /// first one is kept. operation_aborted is no error once the nursery is being cancelled.
  void spawn(asio::awaitable<void> body);

  /// Asks all children to end (terminal cancellation). A child may ignore that; join() waits for
  /// it.
  void cancel();

  /// Returns when no child is left, having rethrown the first error if there was one. The nursery
  /// can then be used again.
  ///
  /// Cancellation: cancels the children, still waits for them, then returns as usual.
  [[nodiscard]] asio::awaitable<void> join();

  /// Children alive.
  [[nodiscard]] std::size_t size() const noexcept { return children_.size(); }

 private:
  struct child {
    asio::cancellation_signal signal;
    bool started = false;
  };
  using child_list = std::list<std::shared_ptr<child>>;

  asio::awaitable<void> run(std::shared_ptr<child> self, asio::awaitable<void> body);
  void finish(child_list::iterator entry, std::exception_ptr error);

  asio::any_io_executor executor_;
  child_list children_;
  std::exception_ptr first_error_;
  bool cancelling_ = false;
  asio::steady_timer empty_;  ///< never expires; cancelled when the last child ends
};

}  // namespace xenpv::async
