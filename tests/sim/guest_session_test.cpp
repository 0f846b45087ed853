// A guest session in a program that owns its io_context: one thread runs both the control code and
// the event loop. Runs inside a domain: xenpv-sim run -- sim_runtime_tests.
#include "xenpv/async/guest_session.hpp"

#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>

#include "xenpv/async/runtime.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::async {
namespace {

/// Runs `body` between open() and close(), on one thread, as a program would.
void run_session(std::function<asio::awaitable<void>(guest_session&)> body) {
  asio::io_context context(1);
  guest_session session(context.get_executor(), false);
  session.set_cpus({{.context = &context}});
  std::exception_ptr error;
  auto program = [&]() -> asio::awaitable<void> {
    co_await session.open();
    const auto close = [&] { return session.close(); };
    co_await clean_up_on_failure(body(session), close);
    co_await close();
  };
  asio::co_spawn(context, program, [&](std::exception_ptr e) { error = std::move(e); });
  context.run();
  if (error) std::rethrow_exception(error);
}

asio::awaitable<void> ping_own_port(guest_session& session) {
  auto receiver = session.loop(0).bind_unbound(domid_self);
  auto sender = session.loop(0).bind_interdomain(domid_self, receiver.number());
  sender.notify();
  co_await receiver.wait();
}

TEST(guest_session, serves_control_and_an_event_loop_on_one_io_context) {
  bool had_domid = false;
  run_session([&](guest_session& session) -> asio::awaitable<void> {
    EXPECT_EQ(session.cpus(), 1U);
    EXPECT_EQ(session.custodian(), nullptr);
    had_domid = (co_await session.store().own_domid()).has_value();
    co_await ping_own_port(session);
    EXPECT_FALSE(co_await session.check_resume());
    EXPECT_EQ(session.resumes(), 0U);
  });
  EXPECT_TRUE(had_domid);
}

TEST(guest_session, closes_completely_after_an_exception) {
  EXPECT_THROW(run_session([](guest_session& session) -> asio::awaitable<void> {
                 co_await ping_own_port(session);
                 throw std::runtime_error("from the program");
               }),
               std::runtime_error);
}

TEST(guest_session, closes_completely_if_the_program_has_closed_the_store_client) {
  run_session([](guest_session& session) { return session.store().close(); });
}

TEST(guest_session, closes_completely_if_the_caller_of_close_is_cancelled) {
  asio::io_context context(1);
  guest_session session(context.get_executor(), false);
  session.set_cpus({{.context = &context}});
  asio::cancellation_signal signal;
  bool has_ended = false;
  auto ended = [&](std::exception_ptr) { has_ended = true; };
  auto program = [&]() -> asio::awaitable<void> {
    co_await session.open();
    asio::post(context, [&] { signal.emit(asio::cancellation_type::terminal); });
    co_await session.close();
  };
  asio::co_spawn(context, program, asio::bind_cancellation_slot(signal.slot(), ended));
  context.run_for(std::chrono::seconds(10));
  EXPECT_TRUE(context.stopped()) << "the event loop or the xenstore client is still open";
  EXPECT_TRUE(has_ended);
}

TEST(guest_session, ends_in_a_runtime_if_main_has_closed_the_store_client) {
  runtime_options options;
  options.with_custodian = false;
  runtime program(std::move(options));
  program.run([](runtime& r) { return r.store().close(); });
}

}  // namespace
}  // namespace xenpv::async
