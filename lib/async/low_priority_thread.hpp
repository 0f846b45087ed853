// A thread with an io_context(1) and a lower scheduling priority than the others, for work that
// unauthenticated clients can cause and that must not delay the data path, such as TLS handshakes.
//
// Owned by main(), which destroys it after the objects that use it. Not pinned to a CPU.
#pragma once

#include <memory>
#include <string>

#include "xenpv/async/asio.hpp"

namespace xenpv::async {

class low_priority_thread {
 public:
  /// Starts the thread. `name` is truncated to 15 bytes. `niceness` is added to the nice value of
  /// the calling thread: at 10, the thread gets about a tenth of a contended CPU.
  /// Throws system_error if there can be no more threads.
  explicit low_priority_thread(const std::string& name, int niceness = 10);
  /// Waits until the thread has no more work.
  ~low_priority_thread();
  low_priority_thread(const low_priority_thread&) = delete;
  low_priority_thread& operator=(const low_priority_thread&) = delete;

  /// The executor of the thread. Call on any thread.
  [[nodiscard]] asio::any_io_executor get_executor();

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace xenpv::async
