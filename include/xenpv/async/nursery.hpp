// Owns child coroutines: spawns, cancels and joins them, so that no coroutine runs unsupervised.
//
// Uses one executor, which one thread runs: all members must be called on that thread (or before
// the context runs). Must outlive its children: destroying it while one is alive terminates the
// program with a message, because the child would continue with dangling references.
#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <cstddef>
#include <exception>
#include <list>
#include <memory>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/signal.hpp"

namespace xenpv::async {

class nursery {
 public:
  explicit nursery(asio::any_io_executor executor);
  ~nursery();
  nursery(const nursery&) = delete;
  nursery& operator=(const nursery&) = delete;

  /// Starts `body` as a child; on the executor's thread, it runs immediately up to its first
  /// suspension. Allowed while join() waits. After cancel() or a failure, until join() has
  /// returned, a new child is started and then cancelled at its first suspension.
  ///
  /// An exception that leaves the child cancels its siblings, and join() rethrows it; only the
  /// first one is kept. operation_aborted is not an error while the nursery is being cancelled.
  void spawn(asio::awaitable<void> body);

  /// Cancels all children (terminal). A child may ignore the cancellation; join() still waits for
  /// it.
  void cancel();

  /// Waits until no child is left, then rethrows the first error if there was one. The nursery can
  /// then be used again.
  ///
  /// Cancellation: cancels the children, still waits for them, then returns as usual.
  [[nodiscard]] asio::awaitable<void> join();

  /// The number of children that have not finished.
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
  signal empty_;  ///< notified when the last child has finished
};

}  // namespace xenpv::async
