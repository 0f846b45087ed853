// Owns child coroutines: spawns, cancels and joins them, so that no coroutine runs unsupervised.
//
// Not thread-safe: call all members on the thread that runs the executor, or before its context
// runs. Must outlive its children: the destructor terminates the program with a message if a child
// is still alive, because the child would continue with dangling references.
#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <cstddef>
#include <exception>
#include <list>
#include <memory>

#include "async/signal.hpp"
#include "xenpv/async/asio.hpp"

namespace xenpv::async {

class nursery {
 public:
  using executor_type = asio::any_io_executor;

  explicit nursery(asio::any_io_executor executor);
  ~nursery();
  nursery(const nursery&) = delete;
  nursery& operator=(const nursery&) = delete;

  /// The executor that runs the children.
  [[nodiscard]] executor_type get_executor() const noexcept { return executor_; }

  /// Starts `body` as a child. On the executor's thread, runs `body` up to its first suspension
  /// before returning. May be called while join() waits. After cancel() or a failure, until join()
  /// returns, a new child is cancelled at its first suspension.
  ///
  /// An exception thrown by a child cancels its siblings and is rethrown by join(); only the first
  /// exception is kept. operation_aborted is not an error while the nursery is being cancelled.
  void spawn(asio::awaitable<void> body);

  /// Cancels all children (terminal). A child may ignore the cancellation; join() waits for it.
  void cancel();

  /// Waits for all children, then rethrows the first error, if any. The nursery can then be reused.
  ///
  /// Cancellation: cancels the children, waits for them, then returns as usual.
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
