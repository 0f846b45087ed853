// The store client connected to the simulated xenstored through libxenstore. Runs inside a domain:
// xenpv-sim run -- sim_store_client_tests. Tests that need a scripted store are in
// tests/unit/async.
#include "xenpv/async/store_client.hpp"

#include <gmock/gmock.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/this_coro.hpp>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "unit/async/run_coroutine.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::async {
namespace {

using namespace std::chrono_literals;
using test::run;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

class store_on_simulator : public ::testing::Test {
 protected:
  store_on_simulator() : control_thread([this] { control.run(); }) { ::signal(SIGPIPE, SIG_IGN); }
  ~store_on_simulator() override {
    run(context, close_all());
    work.reset();
    control_thread.join();
    EXPECT_TRUE(control.stopped());
  }
  asio::awaitable<void> close_all() {
    static_cast<void>(co_await client.remove("data/xenpv-test"));
    co_await client.close();
    co_await other.close();
  }

  asio::io_context context{1};
  asio::io_context control{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{control.get_executor()};
  std::thread control_thread;
  store_client client{control.get_executor(), xen::store::open()};
  store_client other{control.get_executor(), xen::store::open()};
};

asio::awaitable<void> use_nodes(store_client& client) {
  co_await client.write("data/xenpv-test/a", "1");
  co_await client.make_directory("data/xenpv-test/b");
  EXPECT_EQ(co_await client.read("data/xenpv-test/a"), "1");
  const auto names = co_await client.list("data/xenpv-test");
  EXPECT_THAT(names, UnorderedElementsAre("a", "b"));
  EXPECT_EQ(co_await client.list_if_exists("data/xenpv-test/c"), std::nullopt);
  EXPECT_EQ(co_await client.read_if_exists("data/xenpv-test/c"), std::nullopt);
  const auto own = co_await client.own_domid();
  EXPECT_TRUE(own.has_value());
  const auto home = co_await client.domain_path(*own);
  EXPECT_EQ(co_await client.read(home + "/data/xenpv-test/a"), "1");
  EXPECT_TRUE(co_await client.remove("data/xenpv-test"));
}

TEST_F(store_on_simulator, nodes_can_be_written_listed_and_removed) {
  run(context, use_nodes(client));
}

asio::awaitable<void> use_permissions(store_client& client) {
  co_await client.write("data/xenpv-test/a", "");
  auto list = co_await client.permissions("data/xenpv-test/a");
  EXPECT_EQ(list.size(), 1u);
  const xen::store_permission everybody_else{domid_0, true, false};
  list.push_back(everybody_else);
  co_await client.set_permissions("data/xenpv-test/a", list);
  const auto now = co_await client.permissions("data/xenpv-test/a");
  EXPECT_EQ(now, list);
}

TEST_F(store_on_simulator, permissions_are_returned_as_set) {
  run(context, use_permissions(client));
}

asio::awaitable<void> read_missing_node(store_client& client) {
  static_cast<void>(co_await client.read("data/xenpv-test/nowhere"));
}

TEST_F(store_on_simulator, error_for_a_missing_node_names_the_node) {
  try {
    run(context, read_missing_node(client));
    FAIL();
  } catch (const failure& e) {
    EXPECT_THAT(e.what(), HasSubstr("read data/xenpv-test/nowhere: no such file or directory"));
  }
}

asio::awaitable<void> conflict(store_client& client) {
  co_await client.write("data/xenpv-test/a", "0");
  auto rival = xen::store::open();
  int attempts = 0;
  const auto body = [&](xen::store_transaction& transaction) {
    const auto seen = transaction.read("data/xenpv-test/a");
    if (++attempts == 1) rival.write("data/xenpv-test/a", "1");
    transaction.write("data/xenpv-test/b", seen);
  };
  co_await client.transact(body);
  EXPECT_EQ(attempts, 2);
  EXPECT_EQ(co_await client.read("data/xenpv-test/b"), "1");
}

TEST_F(store_on_simulator, conflicting_transaction_is_repeated) {
  run(context, conflict(client));
}

asio::awaitable<void> write_below_a_removed_directory(store_client& client, store_client& other) {
  co_await client.write("data/xenpv-test/device/state", "1");
  EXPECT_TRUE(co_await client.write_if_exists("data/xenpv-test/device/state", "4"));
  EXPECT_EQ(co_await other.read("data/xenpv-test/device/state"), "4");
  EXPECT_TRUE(co_await other.remove("data/xenpv-test/device"));
  EXPECT_FALSE(co_await client.write_if_exists("data/xenpv-test/device/state", "5"));
  EXPECT_EQ(co_await client.list_if_exists("data/xenpv-test/device"), std::nullopt);
}

TEST_F(store_on_simulator, write_if_exists_does_not_recreate_a_removed_directory) {
  run(context, write_below_a_removed_directory(client, other));
}

asio::awaitable<void> follow(store_client& client, store_client& other) {
  auto watch = co_await client.watch("data/xenpv-test");
  auto first = co_await with_deadline(watch.next(), 20s, "await the first event");
  EXPECT_EQ(first.path, "data/xenpv-test");
  co_await other.write("data/xenpv-test/state", "4");
  std::vector<std::string> paths;
  while (paths.empty() || paths.back() != "data/xenpv-test/state") {
    auto event = co_await with_deadline(watch.next(), 20s, "await the change");
    EXPECT_FALSE(event.overflowed);
    paths.push_back(std::move(event.path));
  }
  EXPECT_THAT(paths, ElementsAre("data/xenpv-test/state"));
}

TEST_F(store_on_simulator, watch_reports_writes_of_another_connection) {
  run(context, follow(client, other));
}

}  // namespace
}  // namespace xenpv::async
