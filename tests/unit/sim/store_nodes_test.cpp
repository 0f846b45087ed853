// Requests on nodes: payload rules, replies, permissions and hidden nodes. The expected errors are
// those that xenstored 4.17 returns for the same requests.
#include "unit/sim/store_client.hpp"

namespace xenpv::sim {
namespace {

using namespace std::string_literals;
using test::store_client;
using wire::xs_type;

struct store_nodes : test::store_fixture {};

TEST_F(store_nodes, are_created_by_the_daemon) {
  EXPECT_EQ(zero.directory("/tool"), "xenstored");
  EXPECT_EQ(zero.permissions("/"), "n0");
  EXPECT_EQ(zero.read("/"), "");
}

TEST_F(store_nodes, store_binary_values) {
  EXPECT_EQ(one.write("data/binary", "a\0b\xff\n"s), "OK");
  EXPECT_EQ(one.read("data/binary"), "a\0b\xff\n"s);
  EXPECT_EQ(one.write("data/binary", ""), "OK");
  EXPECT_EQ(one.read("data/binary"), "");
}

TEST_F(store_nodes, have_relative_and_absolute_paths) {
  EXPECT_EQ(one.write("a", "v"), "OK");
  EXPECT_EQ(zero.read("/local/domain/1/a"), "v");
  EXPECT_EQ(zero.write("zz", "w"), "OK");
  EXPECT_EQ(zero.read("/local/domain/0/zz"), "w");
}

TEST_F(store_nodes, create_missing_directories) {
  EXPECT_EQ(one.write("a/b/c", "v"), "OK");
  EXPECT_EQ(one.read("a"), "");
  EXPECT_EQ(one.read("a/b"), "");
  EXPECT_EQ(one.directory("a"), "b");
}

TEST_F(store_nodes, are_listed_in_order_of_creation) {
  for (const auto* const name : {"c", "a", "b"})
    EXPECT_EQ(one.write("dir/"s + name, ""), "OK");
  EXPECT_EQ(one.directory("dir"), "c a b");
  EXPECT_EQ(one.rm("dir/a"), "OK");
  EXPECT_EQ(one.directory("dir"), "c b");
  EXPECT_EQ(one.write("dir/a", ""), "OK");
  EXPECT_EQ(one.directory("dir"), "c b a");
  EXPECT_EQ(one.call(xs_type::directory, "dir/a\0"s), "");
}

TEST_F(store_nodes, are_unchanged_by_mkdir) {
  EXPECT_EQ(one.write("a", "v"), "OK");
  EXPECT_EQ(one.mkdir("a"), "OK");
  EXPECT_EQ(one.read("a"), "v");
}

TEST_F(store_nodes, are_removed_with_their_subtree) {
  EXPECT_EQ(one.write("a/b/c", ""), "OK");
  EXPECT_EQ(one.write("ab", ""), "OK");
  EXPECT_EQ(one.rm("a"), "OK");
  EXPECT_EQ(one.read("a/b/c"), "ENOENT");
  EXPECT_EQ(one.directory("/local/domain/1"), "ab");
}

TEST_F(store_nodes, can_be_removed_if_absent_from_an_existing_directory) {
  EXPECT_EQ(zero.rm("/nope"), "OK");
  EXPECT_EQ(zero.rm("/nope/a"), "ENOENT");
  EXPECT_EQ(one.rm("nope"), "OK");
}

TEST_F(store_nodes, include_a_root_that_cannot_be_removed) {
  EXPECT_EQ(zero.rm("/"), "EINVAL");
  EXPECT_EQ(one.rm("/"), "EACCES");
}

struct payload_case {
  xs_type type;
  std::string payload;
  std::string reply;
};

void PrintTo(const payload_case& item, std::ostream* out) {
  *out << wire::to_string(item.type) << " " << test::readable_payload(item.payload);
}

class store_payload : public test::store_fixture,
                      public ::testing::WithParamInterface<payload_case> {};

TEST_P(store_payload, must_be_well_formed) {
  ASSERT_EQ(one.write("x", "v"), "OK");
  EXPECT_EQ(one.call(GetParam().type, GetParam().payload), GetParam().reply)
      << wire::to_string(GetParam().type);
}

INSTANTIATE_TEST_SUITE_P(
    of_nodes, store_payload,
    ::testing::Values(
        payload_case{xs_type::read, "x\0"s, "v"}, payload_case{xs_type::read, "x", "EINVAL"},
        payload_case{xs_type::read, "", "EINVAL"}, payload_case{xs_type::read, "x\0y"s, "EINVAL"},
        payload_case{xs_type::read, "x\0\0"s, "EINVAL"},
        payload_case{xs_type::read, "\0"s, "EINVAL"},
        payload_case{xs_type::read, "@releaseDomain\0"s, "EINVAL"},
        payload_case{xs_type::write, "x\0"s, "OK\0"s}, payload_case{xs_type::write, "x", "EINVAL"},
        payload_case{xs_type::write, "", "EINVAL"}, payload_case{xs_type::write, "\0v"s, "EINVAL"},
        payload_case{xs_type::write, "@x\0v"s, "EINVAL"},
        payload_case{xs_type::mkdir, "x", "EINVAL"},
        payload_case{xs_type::mkdir, "x\0\0"s, "EINVAL"}, payload_case{xs_type::rm, "x", "EINVAL"},
        payload_case{xs_type::rm, "\0"s, "EINVAL"}, payload_case{xs_type::directory, "x", "EINVAL"},
        payload_case{xs_type::get_perms, "x", "EINVAL"},
        payload_case{xs_type::get_perms, "@releaseDomain\0"s, "EINVAL"},
        payload_case{xs_type::directory_part, "x\0"s, "EINVAL"},
        payload_case{xs_type::directory_part,
                     "x\0"
                     "0"s,
                     "EINVAL"},
        payload_case{xs_type::directory_part,
                     "x\0"
                     "0\0y\0"s,
                     "EINVAL"},
        payload_case{xs_type::set_perms, "x\0"s, "EINVAL"},
        payload_case{xs_type::set_perms, "x\0n1"s, "EINVAL"},
        payload_case{xs_type::set_perms, "x\0n1\0r2"s, "OK\0"s},
        payload_case{xs_type::set_perms, "x\0q1\0"s, "EINVAL"},
        payload_case{xs_type::set_perms, "x\0n1\0\0"s, "EINVAL"}));

INSTANTIATE_TEST_SUITE_P(
    of_the_rest, store_payload,
    ::testing::Values(payload_case{xs_type::watch, "x\0"s, "EINVAL"},
                      payload_case{xs_type::watch, "x\0t"s, "EINVAL"},
                      payload_case{xs_type::watch, "x\0t\0more\0"s, "EINVAL"},
                      payload_case{xs_type::watch, "x\0t\0more"s, "OK\0"s},
                      payload_case{xs_type::watch, "x\0\0"s, "OK\0"s},
                      payload_case{xs_type::unwatch, "x\0"s, "EINVAL"},
                      payload_case{xs_type::unwatch, "x\0t\0"s, "ENOENT"},
                      payload_case{xs_type::transaction_start, "", "1\0"s},
                      payload_case{xs_type::transaction_start, "junk", "1\0"s},
                      payload_case{xs_type::transaction_end, "T\0"s, "ENOENT"},
                      payload_case{xs_type::transaction_end, "X\0"s, "EINVAL"},
                      payload_case{xs_type::transaction_end, "T", "EINVAL"},
                      payload_case{xs_type::transaction_end, "", "EINVAL"},
                      payload_case{xs_type::get_domain_path, "7\0"s, "/local/domain/7\0"s},
                      payload_case{xs_type::get_domain_path, "seven\0"s, "/local/domain/0\0"s},
                      payload_case{xs_type::get_domain_path, "70000\0"s, "/local/domain/70000\0"s},
                      payload_case{xs_type::get_domain_path, "-1\0"s,
                                   "/local/domain/4294967295\0"s},
                      payload_case{xs_type::get_domain_path, "7", "EINVAL"},
                      payload_case{xs_type::get_domain_path,
                                   "7\0"
                                   "8\0"s,
                                   "EINVAL"}));

TEST_F(store_nodes, unknown_requests_are_not_implemented) {
  for (const std::uint32_t type : {15U, 16U, 20U, 23U, 99U, 0xFFFFU, 0xFFFFFFFFU}) {
    EXPECT_EQ(zero.call(static_cast<xs_type>(type), "/\0"s), "ENOSYS") << type;
    EXPECT_EQ(one.call(static_cast<xs_type>(type), "/\0"s), "ENOSYS") << type;
  }
}

TEST_F(store_nodes, only_domain_0_may_manage_domains) {
  for (const auto type : {xs_type::introduce, xs_type::release, xs_type::resume,
                          xs_type::set_target, xs_type::is_domain_introduced, xs_type::control}) {
    EXPECT_EQ(one.call(type,
                       "1\0"
                       "1\0"
                       "1\0"s),
              "EACCES")
        << wire::to_string(type);
    EXPECT_EQ(one.call(type,
                       "1\0"
                       "1\0"
                       "1\0"s,
                       99),
              "EACCES")
        << wire::to_string(type);
  }
}

// Permissions.

TEST_F(store_nodes, belong_to_the_domain_that_creates_them) {
  EXPECT_EQ(one.write("a/b", ""), "OK");
  EXPECT_EQ(zero.permissions("/local/domain/1/a"), "n1");
  EXPECT_EQ(zero.permissions("/local/domain/1/a/b"), "n1");
}

TEST_F(store_nodes, inherit_permissions_from_the_directory) {
  EXPECT_EQ(two.mkdir("shared"), "OK");
  EXPECT_EQ(two.set_permissions("shared", "r2 w1 b3"), "OK");
  EXPECT_EQ(one.write("/local/domain/2/shared/a/b", ""), "OK");
  EXPECT_EQ(zero.permissions("/local/domain/2/shared/a"), "r1 w1 b3");
  EXPECT_EQ(zero.permissions("/local/domain/2/shared/a/b"), "r1 w1 b3");
  EXPECT_EQ(zero.write("/local/domain/2/shared/c", ""), "OK");
  EXPECT_EQ(zero.permissions("/local/domain/2/shared/c"), "r2 w1 b3");
}

TEST_F(store_nodes, are_hidden_from_other_domains) {
  EXPECT_EQ(two.write("a", "v"), "OK");
  for (const auto* const path : {"/local/domain/2", "/local/domain/2/a", "/local/domain/2/missing",
                                 "/local", "/", "/nowhere", "/nowhere/at/all"}) {
    EXPECT_EQ(one.read(path), "EACCES") << path;
    EXPECT_EQ(one.directory(path), "EACCES") << path;
    EXPECT_EQ(one.permissions(path), "EACCES") << path;
    EXPECT_EQ(one.write(path, ""), "EACCES") << path;
    EXPECT_EQ(one.rm(path), "EACCES") << path;
    EXPECT_EQ(one.set_permissions(path, "n1"), "EACCES") << path;
  }
}

TEST_F(store_nodes, can_be_made_readable_individually) {
  EXPECT_EQ(two.write("a/b/c", "v"), "OK");
  EXPECT_EQ(two.set_permissions("a/b", "n2 r1"), "OK");
  EXPECT_EQ(one.directory("/local/domain/2/a/b"), "c");
  EXPECT_EQ(one.read("/local/domain/2/a/b/c"), "EACCES");
  EXPECT_EQ(one.read("/local/domain/2/a/b/missing"), "ENOENT")
      << "the directory is readable, so nothing is hidden";
  EXPECT_EQ(one.write("/local/domain/2/a/b", ""), "EACCES");
  EXPECT_EQ(one.write("/local/domain/2/a/b/new", ""), "EACCES");
  EXPECT_EQ(one.rm("/local/domain/2/a/b/missing"), "EACCES");
  EXPECT_EQ(three.read("/local/domain/2/a/b"), "EACCES");
}

TEST_F(store_nodes, can_be_write_only) {
  EXPECT_EQ(two.write("box", ""), "OK");
  EXPECT_EQ(two.set_permissions("box", "n2 w1"), "OK");
  EXPECT_EQ(one.write("/local/domain/2/box/letter", "hi"), "OK");
  EXPECT_EQ(one.read("/local/domain/2/box"), "EACCES");
  EXPECT_EQ(one.permissions("/local/domain/2/box"), "EACCES");
  EXPECT_EQ(one.read("/local/domain/2/box/letter"), "hi") << "own node";
  EXPECT_EQ(two.read("box/letter"), "EACCES") << "inherited: w1, no access for others";
  EXPECT_EQ(two.rm("box/letter"), "EACCES")
      << "removal requires write permission on the node itself";
  EXPECT_EQ(two.rm("box"), "OK") << "permissions of child nodes do not matter";
}

TEST_F(store_nodes, can_be_made_readable_for_all_domains) {
  EXPECT_EQ(two.write("a", "v"), "OK");
  EXPECT_EQ(two.set_permissions("a", "r2 n3"), "OK");
  EXPECT_EQ(one.read("/local/domain/2/a"), "v");
  EXPECT_EQ(three.read("/local/domain/2/a"), "EACCES") << "its own entry overrides the default";
}

TEST_F(store_nodes, let_only_the_owner_change_permissions) {
  EXPECT_EQ(two.write("a", ""), "OK");
  EXPECT_EQ(two.set_permissions("a", "n2 b1"), "OK");
  EXPECT_EQ(one.set_permissions("/local/domain/2/a", "n1"), "EACCES");
  EXPECT_EQ(two.set_permissions("a", "n1"), "EPERM") << "ownership cannot be transferred";
  EXPECT_EQ(two.permissions("a"), "n2 b1");
  EXPECT_EQ(zero.set_permissions("/local/domain/2/a", "n1"), "OK");
  EXPECT_EQ(one.permissions("/local/domain/2/a"), "n1");
  EXPECT_EQ(two.set_permissions("missing", "n2"), "ENOENT");
}

TEST_F(store_nodes, are_counted_for_their_owner) {
  EXPECT_EQ(service.node_count(domid{1}), 1U);
  EXPECT_EQ(one.write("a/b", ""), "OK");
  EXPECT_EQ(service.node_count(domid{1}), 3U);
  EXPECT_EQ(zero.set_permissions("/local/domain/1/a/b", "n2"), "OK");
  EXPECT_EQ(service.node_count(domid{1}), 2U);
  EXPECT_EQ(service.node_count(domid{2}), 2U);
  EXPECT_EQ(one.rm("a"), "OK");
  EXPECT_EQ(service.node_count(domid{1}), 1U);
  EXPECT_EQ(service.node_count(domid{2}), 1U);
}

// Directories that are too long for one reply.

TEST_F(store_nodes, are_listed_in_parts) {
  std::string names;
  for (int i = 100; i < 400; ++i) {
    const auto name = "child-number-" + std::to_string(i);
    service.write("/many/" + name, "");
    names += name + '\0';
  }
  EXPECT_EQ(zero.directory("/many"), "E2BIG");

  std::string collected;
  std::string generation;
  for (int round = 0; round < 10; ++round) {
    const auto part =
        zero.call(xs_type::directory_part, "/many\0"s + std::to_string(collected.size()) + '\0');
    ASSERT_LE(part.size(), 4096U);
    const auto end = part.find('\0');
    if (round == 0) generation = part.substr(0, end);
    EXPECT_EQ(part.substr(0, end), generation);
    collected += part.substr(end + 1);
    if (collected.ends_with("\0\0"s)) break;
  }
  EXPECT_EQ(collected, names + '\0');
  service.write("/many/one-more", "");
  EXPECT_FALSE(zero.call(xs_type::directory_part,
                         "/many\0"
                         "0\0"s)
                   .starts_with(generation + '\0'));
}

TEST_F(store_nodes, are_listed_in_parts_up_to_an_empty_name) {
  EXPECT_EQ(one.write("dir/ab", ""), "OK");
  EXPECT_EQ(one.write("dir/c", ""), "OK");
  const auto part = [&](const std::string& offset) {
    const auto reply = one.call(xs_type::directory_part, "dir\0"s + offset + '\0');
    return reply.substr(reply.find('\0') + 1);
  };
  EXPECT_EQ(part("0"), "ab\0c\0\0"s);
  EXPECT_EQ(part("1"), "b\0c\0\0"s) << "offsets count bytes, not names";
  EXPECT_EQ(part("3"), "c\0\0"s);
  EXPECT_EQ(part("5"), "\0"s);
  EXPECT_EQ(part("99"), "\0"s);
  EXPECT_EQ(part("-1"), "\0"s);
  EXPECT_EQ(part("x"), "ab\0c\0\0"s);
}

}  // namespace
}  // namespace xenpv::sim
