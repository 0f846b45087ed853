// Runs a coroutine on a context until the context runs out of work. If the context still has work
// after `time_limit`, the test fails instead of hanging.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <exception>
#include <stdexcept>
#include <utility>

#include "xenpv/async/asio.hpp"

namespace xenpv::async::test {

/// Far longer than any test takes: only a test that hangs exceeds it.
inline constexpr std::chrono::seconds time_limit{30};

inline void run_until_dry(asio::io_context& context) {
  context.restart();
  context.run_for(time_limit);
  if (!context.stopped()) throw std::logic_error("the context did not run out of work");
}

/// Rethrows an exception thrown by `body`.
inline void run(asio::io_context& context, asio::awaitable<void> body) {
  std::exception_ptr error = std::make_exception_ptr(std::logic_error("the coroutine never ended"));
  asio::co_spawn(context, std::move(body), [&](std::exception_ptr end) { error = std::move(end); });
  run_until_dry(context);
  if (error) std::rethrow_exception(error);
}

}  // namespace xenpv::async::test
