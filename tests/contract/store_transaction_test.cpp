// Transactions: atomic, invisible until committed, and rejected after a conflict.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <thread>

#include "contract/store_session.hpp"

namespace xenpv::contract {
namespace {

class store_transaction : public store_case {};

TEST_F(store_transaction, shows_its_writes_after_the_commit) {
  const auto transaction = store_.start_transaction();
  store_.write(node("a"), "value", transaction);
  ASSERT_EQ(store_.commit(transaction), succeeded);
  EXPECT_EQ(store_.read(node("a")), "value");
}

TEST_F(store_transaction, hides_its_writes_before_the_commit) {
  const store_session other;
  const auto transaction = store_.start_transaction();
  store_.write(node("a"), "value", transaction);
  EXPECT_EQ(other.read(node("a")), std::nullopt);
  EXPECT_EQ(store_.read(node("a")), std::nullopt) << "same connection, outside the transaction";
  ASSERT_EQ(store_.commit(transaction), succeeded);
}

TEST_F(store_transaction, can_read_its_own_writes) {
  const auto transaction = store_.start_transaction();
  store_.write(node("a/b"), "value", transaction);
  EXPECT_EQ(store_.read(node("a/b"), transaction), "value");
  EXPECT_THAT(store_.list(node("a"), transaction), testing::ElementsAre("b"));
  store_.abort(transaction);
}

TEST_F(store_transaction, has_no_effect_if_aborted) {
  store_.write(node("a"), "old");
  const auto transaction = store_.start_transaction();
  store_.write(node("a"), "new", transaction);
  store_.write(node("b"), "new", transaction);
  store_.abort(transaction);
  EXPECT_EQ(store_.read(node("a")), "old");
  EXPECT_EQ(store_.read(node("b")), std::nullopt);
}

TEST_F(store_transaction, removes_nodes_only_at_commit) {
  store_.write(node("a/b"), "value");
  const auto transaction = store_.start_transaction();
  ASSERT_TRUE(xs_rm(store_.get(), transaction, node("a").c_str()));
  EXPECT_EQ(store_.read(node("a/b"), transaction), std::nullopt);
  EXPECT_EQ(store_.read(node("a/b")), "value");
  ASSERT_EQ(store_.commit(transaction), succeeded);
  EXPECT_EQ(store_.read(node("a/b")), std::nullopt);
}

TEST_F(store_transaction, fails_with_eagain_if_a_node_that_it_read_was_changed) {
  store_.write(node("a"), "1");
  const auto transaction = store_.start_transaction();
  ASSERT_EQ(store_.read(node("a"), transaction), "1");
  const store_session other;
  other.write(node("a"), "2");
  store_.write(node("b"), "seen 1", transaction);
  EXPECT_EQ(store_.commit(transaction), failed(EAGAIN));
  EXPECT_EQ(store_.read(node("b")), std::nullopt) << "the failed transaction must have no effect";
}

TEST_F(store_transaction, fails_with_eagain_if_a_node_that_it_wrote_was_changed) {
  store_.write(node("a"), "1");
  const auto transaction = store_.start_transaction();
  store_.write(node("a"), "mine", transaction);
  const store_session other;
  other.write(node("a"), "other");
  EXPECT_EQ(store_.commit(transaction), failed(EAGAIN));
  EXPECT_EQ(store_.read(node("a")), "other");
}

TEST_F(store_transaction, fails_with_eagain_after_a_change_by_its_own_connection) {
  store_.write(node("a"), "1");
  const auto transaction = store_.start_transaction();
  ASSERT_EQ(store_.read(node("a"), transaction), "1");
  store_.write(node("a"), "2");
  store_.write(node("b"), "", transaction);
  EXPECT_EQ(store_.commit(transaction), failed(EAGAIN));
}

TEST_F(store_transaction, succeeds_if_others_change_unrelated_nodes) {
  store_.write(node("a/x"), "");
  store_.write(node("b/x"), "");
  const auto transaction = store_.start_transaction();
  store_.write(node("a/x"), "mine", transaction);
  const store_session other;
  other.write(node("b/x"), "other");
  EXPECT_EQ(store_.commit(transaction), succeeded);
  EXPECT_EQ(store_.read(node("a/x")), "mine");
  EXPECT_EQ(store_.read(node("b/x")), "other");
}

TEST_F(store_transaction, reads_the_same_value_repeatedly) {
  store_.write(node("a"), "1");
  const auto transaction = store_.start_transaction();
  ASSERT_EQ(store_.read(node("a"), transaction), "1");
  const store_session other;
  other.write(node("a"), "2");
  EXPECT_EQ(store_.read(node("a"), transaction), "1");
  store_.abort(transaction);
}

TEST_F(store_transaction, may_be_aborted_after_a_conflict) {
  store_.write(node("a"), "1");
  const auto transaction = store_.start_transaction();
  store_.write(node("a"), "mine", transaction);
  const store_session other;
  other.write(node("a"), "other");
  EXPECT_TRUE(xs_transaction_end(store_.get(), transaction, true));
}

TEST_F(store_transaction, is_invalid_after_its_end) {
  const auto transaction = store_.start_transaction();
  ASSERT_EQ(store_.commit(transaction), succeeded);
  EXPECT_EQ(store_.try_write(node("a"), "x", transaction), failed(ENOENT));
}

TEST_F(store_transaction, may_be_read_only) {
  store_.write(node("a"), "value");
  const auto transaction = store_.start_transaction();
  ASSERT_EQ(store_.read(node("a"), transaction), "value");
  EXPECT_EQ(store_.commit(transaction), succeeded);
}

TEST_F(store_transaction, may_be_concurrent_with_another_of_the_same_connection) {
  store_.write(node("a/x"), "");
  store_.write(node("b/x"), "");
  const auto first = store_.start_transaction();
  const auto second = store_.start_transaction();
  ASSERT_NE(first, second);
  store_.write(node("a/x"), "1", first);
  store_.write(node("b/x"), "2", second);
  EXPECT_EQ(store_.commit(second), succeeded);
  EXPECT_EQ(store_.commit(first), succeeded);
  EXPECT_EQ(store_.read(node("a/x")), "1");
  EXPECT_EQ(store_.read(node("b/x")), "2");
}

TEST_F(store_transaction, fires_watches_only_at_commit) {
  watch_fence(store_);
  store_.watch(node("a"), "token");
  const auto transaction = store_.start_transaction();
  store_.write(node("a"), "value", transaction);
  EXPECT_TRUE(nothing_before_fence(store_));
  ASSERT_EQ(store_.commit(transaction), succeeded);
  EXPECT_EQ(store_.take_event(), (store_event{node("a"), "token"}));
}

TEST_F(store_transaction, fires_no_watches_if_aborted) {
  watch_fence(store_);
  store_.watch(node("a"), "token");
  const auto transaction = store_.start_transaction();
  store_.write(node("a"), "value", transaction);
  store_.abort(transaction);
  EXPECT_TRUE(nothing_before_fence(store_));
}

TEST_F(store_transaction, fires_no_watches_after_a_conflict) {
  store_.write(node("b"), "");
  watch_fence(store_);
  store_.watch(node("a"), "token");
  const auto transaction = store_.start_transaction();
  ASSERT_EQ(store_.read(node("b"), transaction), "");
  store_.write(node("a"), "value", transaction);
  store_.write(node("b"), "changed");
  ASSERT_EQ(store_.commit(transaction), failed(EAGAIN));
  EXPECT_TRUE(nothing_before_fence(store_));
}

TEST_F(store_transaction, is_aborted_with_its_connection) {
  store_session other;
  const auto transaction = other.start_transaction();
  other.write(node("a"), "value", transaction);
  other.close();
  EXPECT_EQ(store_.read(node("a")), std::nullopt);
}

TEST_F(store_transaction, counts_correctly_when_two_connections_retry) {
  constexpr int rounds = 50;
  store_.write(node("counter"), "0");
  const auto count_up = [&] {
    const store_session own;
    for (int i = 0; i < rounds; ++i) {
      outcome end = failed(EAGAIN);
      while (end == failed(EAGAIN)) {
        const auto transaction = own.start_transaction();
        const auto value = own.read(node("counter"), transaction);
        own.write(node("counter"), std::to_string(std::stoi(value.value()) + 1), transaction);
        end = own.commit(transaction);
      }
      ASSERT_EQ(end, succeeded);
    }
  };
  std::thread other(count_up);
  count_up();
  other.join();
  EXPECT_EQ(store_.read(node("counter")), std::to_string(2 * rounds));
}

}  // namespace
}  // namespace xenpv::contract
