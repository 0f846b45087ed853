// A thread for system calls that block and that a signal must not interrupt.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <memory>

namespace xenpv::async {

/// Starts one thread with all signals blocked, because a signal would interrupt a request in the
/// kernel and make it fail. SIGSYS stays unblocked: it reports a denied system call of the thread.
/// The caller owns the pool, whose destructor waits for the call in progress.
[[nodiscard]] std::unique_ptr<boost::asio::thread_pool> make_thread_for_blocking_calls();

}  // namespace xenpv::async
