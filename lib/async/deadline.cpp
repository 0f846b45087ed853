#include "xenpv/async/deadline.hpp"

#include <fmt/format.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include "base/parse.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::async::detail {
namespace {

/// Rethrows the error of an operation that exceeded its time limit; operation_aborted becomes
/// errc::timed_out.
void conclude_expired(const std::exception_ptr& error, std::chrono::steady_clock::duration limit,
                      const std::string& description) {
  try {
    std::rethrow_exception(error);
  } catch (const boost::system::system_error& e) {
    if (e.code() != asio::error::operation_aborted) throw;
  }
  throw failure(errc::timed_out, description, fmt::format("waited {}", format_duration(limit)));
}

}  // namespace

asio::awaitable<void> run_with_deadline(asio::awaitable<void> operation,
                                        std::chrono::steady_clock::duration limit,
                                        std::string description) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, limit);
  auto group = asio::experimental::make_parallel_group(
      asio::co_spawn(executor, shield_completion(std::move(operation)), asio::deferred),
      timer.async_wait(asio::deferred));
  const auto [order, error, timer_code] =
      co_await group.async_wait(asio::experimental::wait_for_one(), asio::use_awaitable);
  if (!error) co_return;
  // The timer completes without an error only if it expires. A cancellation, by the group or by the
  // caller, is an error.
  const bool expired = !timer_code && order[0] == 1;
  if (expired) conclude_expired(error, limit, description);
  std::rethrow_exception(error);
}

}  // namespace xenpv::async::detail
