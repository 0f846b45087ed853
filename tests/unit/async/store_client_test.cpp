#include "xenpv/async/store_client.hpp"

#include <gmock/gmock.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>
#include <stdexcept>
#include <thread>
#include <vector>

#include "async/nursery.hpp"
#include "unit/async/fake_xenstore.hpp"
#include "unit/async/run_coroutine.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::async {
namespace {

using namespace std::chrono_literals;
using test::run;
using test::xenstore;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// The client has its own control thread; the test runs on `context`. The destructor closes the
/// client and checks that both contexts run out of work.
class store_client_test : public ::testing::Test {
 protected:
  store_client_test() : control_thread([this] { control.run(); }) {}
  ~store_client_test() override {
    run(context, client.close());
    work.reset();
    control_thread.join();
    EXPECT_TRUE(control.stopped());
    EXPECT_FALSE(xenstore.is_open());
  }

  asio::io_context context{1};
  asio::io_context control{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{control.get_executor()};
  std::thread control_thread;
  store_client client{control.get_executor(), xen::store::open(), {.liveness_interval = 2ms}};
};

/// Returns the path of the next event, which must not be an overflow.
asio::awaitable<std::string> next_path(watch_stream& watch) {
  auto event = co_await watch.next();
  EXPECT_FALSE(event.overflowed);
  co_return std::move(event.path);
}

asio::awaitable<void> use_nodes(store_client& client) {
  co_await client.write("device/vbd/51712/state", "1");
  EXPECT_EQ(co_await client.read("device/vbd/51712/state"), "1");
  EXPECT_EQ(co_await client.read_if_exists("nowhere"), std::nullopt);
  EXPECT_TRUE(co_await client.remove("device/vbd/51712/state"));
  EXPECT_FALSE(co_await client.remove("device/vbd/51712/state"));
  EXPECT_EQ(co_await client.domain_path(domid(3)), "/local/domain/3");
  EXPECT_TRUE(co_await client.is_domain_introduced(domid_0));
  EXPECT_FALSE(co_await client.is_domain_introduced(domid(3)));
}

TEST_F(store_client_test, requests_return_replies_of_the_store) {
  run(context, use_nodes(client));
}

asio::awaitable<void> check_threads(store_client& client, std::thread::id control) {
  const auto test_thread = std::this_thread::get_id();
  co_await client.write("a", "1");
  EXPECT_TRUE(std::this_thread::get_id() == test_thread);
  EXPECT_TRUE(xenstore.was_last_called_on(control));
}

TEST_F(store_client_test, requests_run_on_the_control_thread_and_resume_on_the_caller) {
  run(context, check_threads(client, control_thread.get_id()));
}

asio::awaitable<void> read_missing_node(store_client& client) {
  static_cast<void>(co_await client.read("nowhere"));
}

TEST_F(store_client_test, errors_reach_the_caller) {
  try {
    run(context, read_missing_node(client));
    FAIL();
  } catch (const failure& e) {
    EXPECT_EQ(e.code(), std::errc::no_such_file_or_directory);
    EXPECT_THAT(e.what(), HasSubstr("read nowhere: "));
  }
}

void write_twice(xen::store_transaction& transaction, int& attempts) {
  ++attempts;
  transaction.write("a", "1");
  transaction.write("b", "2");
}

asio::awaitable<void> transact_with_conflicts(store_client& client) {
  xenstore.meet_conflicts(2);
  int attempts = 0;
  const auto body = [&](xen::store_transaction& t) { write_twice(t, attempts); };
  co_await client.transact(body);
  EXPECT_EQ(attempts, 3);
}

TEST_F(store_client_test, transactions_are_retried) {
  run(context, transact_with_conflicts(client));
}

asio::awaitable<void> write_existing_and_missing(store_client& client) {
  co_await client.write("device/vbd/51712/state", "1");
  EXPECT_TRUE(co_await client.write_if_exists("device/vbd/51712/state", "4"));
  EXPECT_EQ(co_await client.read("device/vbd/51712/state"), "4");
  EXPECT_FALSE(co_await client.write_if_exists("device/vbd/51728/state", "4"));
  EXPECT_EQ(co_await client.read_if_exists("device/vbd/51728/state"), std::nullopt);
}

TEST_F(store_client_test, writes_a_node_that_exists_and_creates_none) {
  run(context, write_existing_and_missing(client));
}

asio::awaitable<void> write_while_the_node_is_removed(store_client& client) {
  co_await client.write("device/vbd/51712/state", "1");
  xenstore.meet_removal_of("device/vbd/51712/state");
  EXPECT_FALSE(co_await client.write_if_exists("device/vbd/51712/state", "4"));
  EXPECT_EQ(co_await client.read_if_exists("device/vbd/51712/state"), std::nullopt);
}

TEST_F(store_client_test, does_not_recreate_a_node_that_is_removed_during_the_write) {
  run(context, write_while_the_node_is_removed(client));
}

asio::awaitable<void> transact_and_fail(store_client& client) {
  const auto body = [](xen::store_transaction&) { throw std::runtime_error("from the body"); };
  co_await client.transact(body);
}

TEST_F(store_client_test, exceptions_of_a_transaction_body_reach_the_caller) {
  EXPECT_THROW(run(context, transact_and_fail(client)), std::runtime_error);
}

asio::awaitable<void> follow_a_node(store_client& client) {
  auto watch = co_await client.watch("device/vbd");
  EXPECT_EQ(watch.path(), "device/vbd");
  EXPECT_EQ(co_await next_path(watch), "device/vbd");
  xenstore.change("device/vbd/51712/state", "4");
  xenstore.change("device/vif/0/state", "4");
  xenstore.change("device/vbd/51728/state", "4");
  EXPECT_EQ(co_await next_path(watch), "device/vbd/51712/state");
  EXPECT_EQ(co_await next_path(watch), "device/vbd/51728/state");
}

TEST_F(store_client_test, watch_returns_events_in_order) {
  run(context, follow_a_node(client));
}

asio::awaitable<void> follow_two(store_client& client) {
  auto one = co_await client.watch("a");
  auto same = co_await client.watch("a");
  EXPECT_EQ(co_await next_path(one), "a");
  EXPECT_EQ(co_await next_path(same), "a");
  xenstore.change("a", "x");
  EXPECT_EQ(co_await next_path(same), "a");
  EXPECT_EQ(co_await next_path(one), "a");
}

TEST_F(store_client_test, two_watches_of_one_path_get_their_own_events) {
  run(context, follow_two(client));
}

asio::awaitable<void> watch_and_leave(store_client& client) {
  {
    auto watch = co_await client.watch("a");
    EXPECT_EQ(xenstore.watch_count(), 1u);
  }
  // Requests run in order: when this write has completed, so has the unwatch.
  co_await client.write("b", "");
  EXPECT_EQ(xenstore.watch_count(), 0u);
}

TEST_F(store_client_test, destroying_the_stream_ends_the_watch) {
  run(context, watch_and_leave(client));
}

asio::awaitable<void> fall_behind(store_client& client) {
  auto watch = co_await client.watch("a");
  EXPECT_EQ(co_await next_path(watch), "a");
  // Three times the stream's capacity, all while the control thread is busy.
  const auto body = [](xen::store_transaction&) {
    for (std::size_t i = 0; i < 3 * watch_stream_capacity; ++i)
      xenstore.change("a/" + std::to_string(i), "");
  };
  co_await client.transact(body);
  auto event = co_await watch.next();
  if (!event.overflowed) {
    // The reader was waiting before the flood arrived.
    EXPECT_EQ(event.path, "a/0");
    event = co_await watch.next();
  }
  EXPECT_TRUE(event.overflowed);
  EXPECT_EQ(event.path, "a");
}

TEST_F(store_client_test, reader_that_fell_behind_gets_an_overflow) {
  run(context, fall_behind(client));
}

asio::awaitable<void> cancel_a_reader(store_client& client) {
  auto watch = co_await client.watch("a");
  EXPECT_EQ(co_await next_path(watch), "a");
  bool timed_out = false;
  try {
    static_cast<void>(co_await with_deadline(watch.next(), 1ms, "await a change of a"));
  } catch (const failure& e) {
    timed_out = e.code() == errc::timed_out;
  }
  EXPECT_TRUE(timed_out);
  xenstore.change("a", "x");
  EXPECT_EQ(co_await next_path(watch), "a");
}

TEST_F(store_client_test, cancelled_reader_can_read_again) {
  run(context, cancel_a_reader(client));
}

asio::awaitable<void> read_twice_at_once(watch_stream& watch, std::string& end) {
  try {
    static_cast<void>(co_await watch.next());
    end = "event";
  } catch (const failure& e) {
    end = e.what();
  } catch (const boost::system::system_error& e) {
    end = e.code().message();
  }
}

asio::awaitable<void> two_readers(store_client& client) {
  auto watch = co_await client.watch("a");
  EXPECT_EQ(co_await next_path(watch), "a");
  std::string first;
  std::string second;
  nursery children(co_await asio::this_coro::executor);
  children.spawn(read_twice_at_once(watch, first));
  children.spawn(read_twice_at_once(watch, second));
  // Both calls have reached the control thread when this write completes.
  co_await client.write("b", "");
  xenstore.change("a", "");
  co_await children.join();
  EXPECT_EQ(first, "event");
  EXPECT_EQ(second, "await events of a: invalid argument (another next() call is pending)");
}

TEST_F(store_client_test, second_reader_is_refused) {
  run(context, two_readers(client));
}

asio::awaitable<void> close_under_a_reader(store_client& client, std::string& end) {
  auto watch = co_await client.watch("a");
  EXPECT_EQ(co_await next_path(watch), "a");
  nursery children(co_await asio::this_coro::executor);
  children.spawn(read_twice_at_once(watch, end));
  co_await client.close();
  co_await children.join();
  std::string code;
  try {
    co_await client.write("a", "");
  } catch (const failure& e) {
    code = e.what();
  }
  EXPECT_EQ(code, "use xenstore: operation canceled (the client was closed)");
}

TEST_F(store_client_test, close_ends_the_readers_and_refuses_requests) {
  std::string end;
  run(context, close_under_a_reader(client, end));
  EXPECT_EQ(end, "Operation canceled");
}

asio::awaitable<void> lose_under_a_reader(store_client& client, std::string& end) {
  auto watch = co_await client.watch("a");
  EXPECT_EQ(co_await next_path(watch), "a");
  xenstore.lose();
  co_await read_twice_at_once(watch, end);
  std::string request;
  try {
    static_cast<void>(co_await client.read("a"));
  } catch (const failure& e) {
    EXPECT_EQ(e.code(), errc::lost_connection);
    request = e.what();
  }
  EXPECT_EQ(request, "use xenstore: connection lost (xenstored has exited)");
}

TEST_F(store_client_test, liveness_check_reports_a_lost_connection_to_readers) {
  std::string end;
  run(context, lose_under_a_reader(client, end));
  EXPECT_EQ(end, "await xenstore events: connection lost (xenstored has exited)");
}

asio::awaitable<void> keep_events_before_loss(store_client& client) {
  auto watch = co_await client.watch("a");
  EXPECT_EQ(co_await next_path(watch), "a");
  xenstore.change("a", "");
  xenstore.change("a/b", "");
  EXPECT_EQ(co_await next_path(watch), "a");
  xenstore.lose();
  EXPECT_EQ(co_await next_path(watch), "a/b") << "events before the loss are still delivered";
  std::string end;
  co_await read_twice_at_once(watch, end);
  EXPECT_THAT(end, HasSubstr("connection lost"));
}

TEST_F(store_client_test, events_before_a_loss_are_delivered_first) {
  run(context, keep_events_before_loss(client));
}

}  // namespace
}  // namespace xenpv::async
