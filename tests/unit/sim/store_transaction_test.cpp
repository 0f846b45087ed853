#include "sim/store_transaction.hpp"

#include "unit/sim/store_client.hpp"

namespace xenpv::sim {
namespace {

using namespace std::string_literals;
using test::store_client;
using wire::xs_type;

struct store_transactions : test::store_fixture {};

TEST_F(store_transactions, are_numbered_from_one_per_connection) {
  EXPECT_EQ(one.start(), 1U);
  EXPECT_EQ(one.start(), 2U);
  EXPECT_EQ(two.start(), 1U);
  EXPECT_EQ(one.abort(1), "OK");
  EXPECT_EQ(one.start(), 3U) << "IDs are not reused immediately";
}

TEST_F(store_transactions, are_unknown_to_other_connections_and_after_their_end) {
  const auto tx = one.start();
  store_client other(service, 1);
  EXPECT_EQ(other.read("a", tx), "ENOENT");
  EXPECT_EQ(other.commit(tx), "ENOENT");
  EXPECT_EQ(one.commit(tx), "OK");
  EXPECT_EQ(one.commit(tx), "ENOENT");
  EXPECT_EQ(one.read("a", tx), "ENOENT");
  EXPECT_EQ(one.call(xs_type::transaction_start, "\0"s, tx), "ENOENT");
}

TEST_F(store_transactions, cannot_be_nested) {
  const auto tx = one.start();
  EXPECT_EQ(one.call(xs_type::transaction_start, "\0"s, tx), "EBUSY");
}

TEST_F(store_transactions, survive_a_malformed_end) {
  const auto tx = one.start();
  EXPECT_EQ(one.call(xs_type::transaction_end, "Q\0"s, tx), "EINVAL");
  EXPECT_EQ(one.commit(tx), "OK");
}

TEST_F(store_transactions, are_visible_to_others_only_after_commit) {
  const auto tx = one.start();
  EXPECT_EQ(one.write("a", "new", tx), "OK");
  EXPECT_EQ(one.read("a", tx), "new");
  EXPECT_EQ(one.read("a"), "ENOENT");
  EXPECT_EQ(one.directory("/local/domain/1", tx), "a");
  EXPECT_EQ(one.directory("/local/domain/1"), "");
  EXPECT_EQ(one.commit(tx), "OK");
  EXPECT_EQ(one.read("a"), "new");
  EXPECT_EQ(one.directory("/local/domain/1"), "a");
}

TEST_F(store_transactions, have_no_effect_when_aborted) {
  ASSERT_EQ(one.write("keep", "v"), "OK");
  const auto tx = one.start();
  EXPECT_EQ(one.write("a/b", "v", tx), "OK");
  EXPECT_EQ(one.rm("keep", tx), "OK");
  EXPECT_EQ(one.set_permissions("/local/domain/1", "n1 r2", tx), "OK");
  EXPECT_EQ(one.abort(tx), "OK");
  EXPECT_EQ(one.directory("/local/domain/1"), "keep");
  EXPECT_EQ(one.permissions("/local/domain/1"), "n1");
  EXPECT_EQ(service.node_count(domid{1}), 2U);
}

TEST_F(store_transactions, have_no_effect_when_the_connection_ends) {
  {
    store_client other(service, 1);
    EXPECT_EQ(other.write("a", "", other.start()), "OK");
  }
  EXPECT_EQ(one.read("a"), "ENOENT");
}

TEST_F(store_transactions, can_remove_and_recreate_a_node) {
  ASSERT_EQ(one.write("a/old", ""), "OK");
  const auto tx = one.start();
  EXPECT_EQ(one.rm("a", tx), "OK");
  EXPECT_EQ(one.read("a/old", tx), "ENOENT");
  EXPECT_EQ(one.write("a/new", "", tx), "OK");
  EXPECT_EQ(one.directory("a", tx), "new");
  EXPECT_EQ(one.commit(tx), "OK");
  EXPECT_EQ(one.directory("a"), "new");
  EXPECT_EQ(one.read("a/old"), "ENOENT");
  EXPECT_EQ(service.node_count(domid{1}), 3U);
}

TEST_F(store_transactions, apply_permission_changes_to_later_requests) {
  ASSERT_EQ(two.write("a", "v"), "OK");
  const auto tx = two.start();
  EXPECT_EQ(two.set_permissions("a", "n2 r1", tx), "OK");
  EXPECT_EQ(two.permissions("a", tx), "n2 r1");
  EXPECT_EQ(two.permissions("a"), "n2");
  EXPECT_EQ(one.read("/local/domain/2/a"), "EACCES");
  EXPECT_EQ(two.commit(tx), "OK");
  EXPECT_EQ(one.read("/local/domain/2/a"), "v");
}

TEST_F(store_transactions, snapshot_a_node_at_the_first_access) {
  ASSERT_EQ(one.write("a", "1"), "OK");
  const auto tx = one.start();
  ASSERT_EQ(one.write("a", "2"), "OK");
  EXPECT_EQ(one.read("a", tx), "2") << "like C xenstored, not the value at the start";
  ASSERT_EQ(one.write("a", "3"), "OK");
  EXPECT_EQ(one.read("a", tx), "2");
  EXPECT_EQ(one.commit(tx), "EAGAIN");
  EXPECT_EQ(one.read("a"), "3");
}

// One request inside the transaction, and one outside it before the commit. Each step is a verb and
// a path below the domain directory, which contains s/a and s/b.
struct conflict_case {
  const char* inside;
  const char* outside;
  const char* commit;
};

void PrintTo(const conflict_case& item, std::ostream* out) {
  *out << item.inside << " against " << item.outside;
}

class store_conflicts : public test::store_fixture,
                        public ::testing::WithParamInterface<conflict_case> {
 protected:
  void step(const std::string& text, std::uint32_t tx) {
    const auto space = text.find(' ');
    const auto verb = text.substr(0, space);
    const auto path = space == std::string::npos ? "" : text.substr(space + 1);
    if (verb == "read") {
      one.read(path, tx);
    } else if (verb == "list") {
      one.directory(path, tx);
    } else if (verb == "permissions") {
      one.permissions(path, tx);
    } else if (verb == "write") {
      EXPECT_EQ(one.write(path, "z", tx), "OK");
    } else if (verb == "rm") {
      EXPECT_EQ(one.rm(path, tx), "OK");
    } else if (verb == "permit") {
      EXPECT_EQ(one.set_permissions(path, "n1", tx), "OK");
    } else {
      EXPECT_EQ(text, "nothing");
    }
  }
};

TEST_P(store_conflicts, are_detected_at_commit) {
  ASSERT_EQ(one.write("s/a", "1"), "OK");
  ASSERT_EQ(one.write("s/b", "1"), "OK");
  const auto tx = one.start();
  step(GetParam().inside, tx);
  step(GetParam().outside, 0);
  EXPECT_EQ(one.commit(tx), GetParam().commit)
      << "inside: " << GetParam().inside << ", outside: " << GetParam().outside;
}

INSTANTIATE_TEST_SUITE_P(as_in_xenstored, store_conflicts,
                         ::testing::Values(conflict_case{"nothing", "write s/a", "OK"},
                                           conflict_case{"read s/a", "write s/a", "EAGAIN"},
                                           conflict_case{"read s/a", "write s/b", "OK"},
                                           conflict_case{"read s/a", "rm s/a", "EAGAIN"},
                                           conflict_case{"read s/a", "rm s/b", "OK"},
                                           conflict_case{"read s/a", "permit s/a", "EAGAIN"},
                                           conflict_case{"permissions s/a", "write s/a", "EAGAIN"},
                                           conflict_case{"read s/c", "write s/c", "EAGAIN"},
                                           conflict_case{"read s/c", "write s/d", "EAGAIN"},
                                           conflict_case{"list s", "write s/d", "EAGAIN"},
                                           conflict_case{"list s", "write s/a", "OK"},
                                           conflict_case{"list s", "rm s/b", "EAGAIN"},
                                           conflict_case{"write s/a", "write s/a", "EAGAIN"},
                                           conflict_case{"write s/a", "read s/a", "OK"},
                                           conflict_case{"write s/a", "write s/d", "OK"},
                                           conflict_case{"write s/c", "write s/d", "EAGAIN"},
                                           conflict_case{"write s/c", "write s/a", "OK"},
                                           conflict_case{"rm s/a", "write s/a", "EAGAIN"},
                                           conflict_case{"rm s/a", "write s/b", "OK"},
                                           conflict_case{"rm s", "write s/b", "EAGAIN"}));

TEST_F(store_transactions, conflict_with_each_other) {
  ASSERT_EQ(one.write("n", "1"), "OK");
  store_client other(service, 1);
  const auto first = one.start();
  const auto second = other.start();
  EXPECT_EQ(one.read("n", first), "1");
  EXPECT_EQ(other.read("n", second), "1");
  EXPECT_EQ(one.write("n", "2", first), "OK");
  EXPECT_EQ(other.write("n", "3", second), "OK");
  EXPECT_EQ(one.commit(first), "OK");
  EXPECT_EQ(other.commit(second), "EAGAIN");
  EXPECT_EQ(one.read("n"), "2");
}

TEST_F(store_transactions, do_not_change_the_store_after_a_conflict) {
  const auto tx = one.start();
  EXPECT_EQ(one.write("a", "v", tx), "OK");
  EXPECT_EQ(one.write("b", "v"), "OK");
  EXPECT_EQ(one.commit(tx), "EAGAIN");
  EXPECT_EQ(one.directory("/local/domain/1"), "b");
  EXPECT_EQ(service.node_count(domid{1}), 2U);
}

TEST_F(store_transactions, detect_a_removal_in_a_directory_that_they_have_read) {
  ASSERT_EQ(one.write("s/a", ""), "OK");
  const auto tx = one.start();
  EXPECT_EQ(one.directory("s", tx), "a");
  EXPECT_EQ(one.rm("s/a"), "OK");
  EXPECT_EQ(one.rm("s", tx), "EIO") << "the listed child was removed";
  EXPECT_EQ(one.commit(tx), "EAGAIN");
}

TEST_F(store_transactions, detect_a_directory_created_after_their_snapshot) {
  const auto tx = one.start();
  EXPECT_EQ(one.read("s", tx), "ENOENT");
  EXPECT_EQ(one.write("s/a", ""), "OK");
  EXPECT_EQ(one.rm("s/a", tx), "EINVAL") << "the snapshot has no such directory";
  EXPECT_EQ(one.commit(tx), "EAGAIN");
}

TEST_F(store_transactions, detect_a_node_missing_from_the_list_of_its_directory) {
  ASSERT_EQ(one.mkdir("s"), "OK");
  const auto tx = one.start();
  EXPECT_EQ(one.read("s", tx), "");
  EXPECT_EQ(one.write("s/a", ""), "OK");
  EXPECT_EQ(one.rm("s/a", tx), "EIO");
  EXPECT_EQ(one.commit(tx), "EAGAIN");
}

// Watches.

TEST_F(store_transactions, fire_watches_only_at_commit) {
  ASSERT_EQ(zero.watch("/local/domain/1", "t"), "OK");
  zero.events();
  const auto tx = one.start();
  EXPECT_EQ(one.write("a", "1", tx), "OK");
  EXPECT_EQ(one.write("a", "2", tx), "OK");
  EXPECT_EQ(one.write("b", "1", tx), "OK");
  EXPECT_EQ(zero.events(), lines{});
  EXPECT_EQ(one.commit(tx), "OK");
  EXPECT_EQ(zero.events(), (lines{"/local/domain/1/a>t", "/local/domain/1/b>t"}));
  const auto aborted = one.start();
  EXPECT_EQ(one.write("a", "3", aborted), "OK");
  EXPECT_EQ(one.abort(aborted), "OK");
  EXPECT_EQ(zero.events(), lines{});
}

TEST_F(store_transactions, fire_no_watches_for_nodes_created_and_removed) {
  ASSERT_EQ(zero.watch("/local/domain/1", "t"), "OK");
  zero.events();
  const auto tx = one.start();
  EXPECT_EQ(one.write("a", "", tx), "OK");
  EXPECT_EQ(one.rm("a", tx), "OK");
  EXPECT_EQ(one.commit(tx), "OK");
  EXPECT_EQ(zero.events(), lines{});
}

TEST_F(store_transactions, fire_watches_below_a_removed_node) {
  ASSERT_EQ(one.write("d/x", ""), "OK");
  ASSERT_EQ(one.write("d/y", ""), "OK");
  ASSERT_EQ(zero.watch("/local/domain/1/d/y", "y"), "OK");
  ASSERT_EQ(zero.watch("/local/domain/1", "t"), "OK");
  zero.events();
  const auto tx = one.start();
  EXPECT_EQ(one.rm("d", tx), "OK");
  EXPECT_EQ(one.commit(tx), "OK");
  EXPECT_EQ(zero.events(), (lines{"/local/domain/1/d>t", "/local/domain/1/d/y>y"}));
}

TEST_F(store_transactions, fire_watches_of_old_and_new_readers) {
  ASSERT_EQ(two.write("a", ""), "OK");
  ASSERT_EQ(one.watch("/local/domain/2/a", "t"), "OK");
  one.events();
  for (const auto* const permissions : {"n2 r1", "n2"}) {
    const auto tx = two.start();
    EXPECT_EQ(two.set_permissions("a", permissions, tx), "OK");
    EXPECT_EQ(two.commit(tx), "OK");
    EXPECT_EQ(one.events(), lines{"/local/domain/2/a>t"}) << permissions;
  }
  const auto tx = two.start();
  EXPECT_EQ(two.write("a", "v", tx), "OK");
  EXPECT_EQ(two.commit(tx), "OK");
  EXPECT_EQ(one.events(), lines{});
}

TEST_F(store_transactions, copy_only_the_accessed_nodes_of_a_large_store) {
  for (int i = 0; i < 20000; ++i)
    service.write("/big/" + std::to_string(i / 200) + "/" + std::to_string(i), "v");
  // If each transaction copied the tree, this would take minutes.
  for (int i = 0; i < 2000; ++i) {
    const auto tx = zero.start();
    ASSERT_EQ(zero.write("/big/7/1400", std::to_string(i), tx), "OK");
    ASSERT_EQ(zero.commit(tx), "OK");
  }
  EXPECT_EQ(zero.read("/big/7/1400"), "1999");
}

}  // namespace
}  // namespace xenpv::sim
