// Option haggling: each option with the replies that the specification requires, byte by byte.
#include "nbd/negotiation.hpp"

#include <gmock/gmock.h>

#include "negotiation_client.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using ::testing::ElementsAre;
using wire::nbd_option;
using lines = std::vector<std::string>;

/// Exports "xvda" (1 GiB, all features) and "iso" (2 MiB, read-only).
negotiation_options two_disks() {
  negotiation_options out;
  export_info disk;
  disk.name = "xvda";
  disk.description = "a disk";
  disk.size = 1U << 30U;
  disk.can_flush = disk.can_fua = disk.can_trim = disk.can_write_zeroes = true;
  disk.can_multi_conn = true;
  export_info iso;
  iso.name = "iso";
  iso.size = 2U << 20U;
  iso.minimum_block = 2048;
  iso.read_only = true;
  out.exports = {disk, iso};
  out.default_export = "xvda";
  return out;
}

const std::string go_xvda = "NBD_OPT_GO: NBD_REP_INFO 00000000000040000000016d";
const std::string info_xvda = "NBD_OPT_INFO: NBD_REP_INFO 00000000000040000000016d";

TEST(negotiation, greets_with_fixed_newstyle_and_no_zeroes) {
  negotiation machine(two_disks());
  const auto step = machine.next();
  EXPECT_EQ(step.what, negotiation_step::action::send);
  EXPECT_EQ(hex(step.bytes), hex("NBDMAGICIHAVEOPT") + "0003");
  EXPECT_EQ(machine.next().what, negotiation_step::action::read_more);
}

TEST(negotiation, drops_a_client_that_sets_an_unknown_flag) {
  for (unsigned bit = 2; bit < 32; ++bit) {
    client c(two_disks());
    EXPECT_THAT(c.send(flags(3U | 1U << bit) + option(nbd_option::abort)).back(),
                ::testing::StartsWith("(dropped: unknown client flags 0x"))
        << bit;
  }
}

TEST(negotiation, serves_a_client_that_does_not_announce_fixed_newstyle) {
  client c(two_disks());
  c.start(0);
  EXPECT_EQ(c.send(option(nbd_option::list)).back(), "NBD_OPT_LIST: NBD_REP_ACK");
}

TEST(negotiation, ends_with_export_name_and_124_zeroes) {
  for (const unsigned client_flags : {0U, 1U}) {
    client c(two_disks());
    EXPECT_THAT(c.start(client_flags).send(option(nbd_option::export_name, "xvda")),
                ElementsAre("0000000040000000"
                            "016d" +
                                std::string(248, '0'),
                            "(transmission xvda)"));
  }
}

TEST(negotiation, omits_the_zeroes_if_negotiated) {
  for (const unsigned client_flags : {2U, 3U}) {
    client c(two_disks());
    EXPECT_THAT(c.start(client_flags).send(option(nbd_option::export_name, "iso")),
                ElementsAre("00000000002000000003", "(transmission iso)"));
  }
}

TEST(negotiation, closes_on_an_unknown_export_name) {
  for (const std::string& name : {std::string("nothing"), std::string("xvd"), std::string("xvda "),
                                  std::string("xvda\0", 5), std::string(4097, 'x')}) {
    client c(two_disks());
    EXPECT_THAT(c.start().send(option(nbd_option::export_name, name)),
                ElementsAre(::testing::AllOf(
                    ::testing::StartsWith("(closed: NBD_OPT_EXPORT_NAME: there is no export '"),
                    ::testing::EndsWith("', only 'xvda', 'iso')"))));
  }
}

TEST(negotiation, treats_the_empty_name_as_the_default_export) {
  client old(two_disks());
  EXPECT_EQ(old.start().send(option(nbd_option::export_name)).back(), "(transmission xvda)");
  client c(two_disks());
  EXPECT_THAT(c.start().send(option(nbd_option::go, info("", {1}))),
              ElementsAre(go_xvda, "NBD_OPT_GO: NBD_REP_INFO 0001" + hex("xvda"),
                          "NBD_OPT_GO: NBD_REP_ACK", "(transmission xvda)"));
  auto none = two_disks();
  none.default_export.clear();
  client nameless(none);
  EXPECT_THAT(nameless.start().send(option(nbd_option::go, info(""))),
              ElementsAre(refusal(nbd_option::go, "UNKNOWN", "there is no export ''")));
}

TEST(negotiation, acknowledges_abort_with_and_without_data) {
  for (const auto* const data : {"", "goodbye"}) {
    client c(two_disks());
    EXPECT_THAT(c.start().send(option(nbd_option::abort, data)),
                ElementsAre("NBD_OPT_ABORT: NBD_REP_ACK", client_left));
    EXPECT_THAT(c.send({}), ElementsAre(client_left)) << "it stays closed";
  }
}

TEST(negotiation, lists_each_export_in_a_reply) {
  client c(two_disks());
  EXPECT_THAT(c.start().send(option(nbd_option::list)),
              ElementsAre("NBD_OPT_LIST: NBD_REP_SERVER 00000004" + hex("xvdaa disk"),
                          "NBD_OPT_LIST: NBD_REP_SERVER 00000003" + hex("iso"),
                          "NBD_OPT_LIST: NBD_REP_ACK"));
  client empty({});
  EXPECT_THAT(empty.start().send(option(nbd_option::list)),
              ElementsAre("NBD_OPT_LIST: NBD_REP_ACK"));
}

TEST(negotiation, writes_a_reply_byte_for_byte) {
  negotiation machine(two_disks());
  (void)machine.next();
  const auto input = flags() + option(nbd_option::info, info("iso", {3}));
  machine.feed(as_bytes(input));
  EXPECT_EQ(hex(machine.next().bytes),
            hex(unhex("0003e889045565a9 00000006 00000003 0000000c 0000 0000000000200000 0003")));
  EXPECT_EQ(hex(machine.next().bytes),
            hex(unhex("0003e889045565a9 00000006 00000003 0000000e 0003 00000800 00001000 "
                      "02000000")));
  EXPECT_EQ(hex(machine.next().bytes), hex(unhex("0003e889045565a9 00000006 00000001 00000000")));
  EXPECT_EQ(machine.next().what, negotiation_step::action::read_more);
}

TEST(negotiation, sends_the_export_info_even_if_not_requested) {
  client c(two_disks());
  EXPECT_THAT(c.start().send(option(nbd_option::info, info("xvda"))),
              ElementsAre(info_xvda, "NBD_OPT_INFO: NBD_REP_ACK"));
}

TEST(negotiation, sends_each_info_once_and_ignores_unknown_types) {
  client c(two_disks());
  const auto query = info("xvda", {0, 1, 2, 3, 3, 1, 0, 4, 999, 65535});
  EXPECT_THAT(c.start().send(option(nbd_option::info, query)),
              ElementsAre(info_xvda, "NBD_OPT_INFO: NBD_REP_INFO 0001" + hex("xvda"),
                          "NBD_OPT_INFO: NBD_REP_INFO 0002" + hex("a disk"),
                          "NBD_OPT_INFO: NBD_REP_INFO 0003000000010000100002000000",
                          "NBD_OPT_INFO: NBD_REP_ACK"));
  EXPECT_THAT(c.send(option(nbd_option::info, info("iso", {2}))),
              ElementsAre("NBD_OPT_INFO: NBD_REP_INFO 000000000000002000000003",
                          "NBD_OPT_INFO: NBD_REP_ACK"))
      << "\"iso\" has no description";
}

TEST(negotiation, answers_go_like_info_and_sends_no_zeroes) {
  for (const unsigned client_flags : {1U, 3U}) {
    client c(two_disks());
    const auto query = info("xvda", {3});
    const auto first = c.start(client_flags).send(option(nbd_option::info, query));
    const auto second = c.send(option(nbd_option::go, query));
    ASSERT_EQ(first.size(), 3U);
    ASSERT_EQ(second.size(), 4U);
    for (std::size_t i = 0; i < first.size(); ++i)
      EXPECT_EQ(first[i].substr(sizeof "NBD_OPT_INFO"), second[i].substr(sizeof "NBD_OPT_GO"));
    EXPECT_EQ(second[3], "(transmission xvda)");
  }
}

TEST(negotiation, stays_usable_after_an_unknown_name) {
  client c(two_disks());
  EXPECT_THAT(c.start().send(option(nbd_option::go, info("other"))),
              ElementsAre(refusal(nbd_option::go, "UNKNOWN", "there is no export 'other'")));
  EXPECT_THAT(c.send(option(nbd_option::go, info("xvda"))),
              ElementsAre(go_xvda, "NBD_OPT_GO: NBD_REP_ACK", "(transmission xvda)"));
}

TEST(negotiation, returns_the_bytes_after_the_last_option) {
  const auto last = {option(nbd_option::export_name, "xvda"), option(nbd_option::go, info("xvda"))};
  for (const auto& final_option : last) {
    client c(two_disks());
    EXPECT_EQ(c.start().send(final_option + "first requests").back(), "(transmission xvda)");
    EXPECT_EQ(as_text(c.machine().rest()), "first requests");
    EXPECT_EQ(c.send({}), lines{"(transmission xvda)"}) << "the step is final";
    EXPECT_EQ(as_text(c.machine().rest()), "first requests");
  }
}

TEST(negotiation, accepts_structured_replies_repeatedly) {
  client c(two_disks());
  c.start();
  for (int i = 0; i < 2; ++i)
    EXPECT_THAT(c.send(option(nbd_option::structured_reply)),
                ElementsAre("NBD_OPT_STRUCTURED_REPLY: NBD_REP_ACK"));
  EXPECT_THAT(c.send(option(nbd_option::go, info("xvda"))),
              ElementsAre("NBD_OPT_GO: NBD_REP_INFO 0000000000004000000001ed",
                          "NBD_OPT_GO: NBD_REP_ACK", "(transmission xvda)"))
      << "with NBD_FLAG_SEND_DF";
  EXPECT_TRUE(c.machine().agreed().structured);
  EXPECT_TRUE(c.machine().agreed().terms().structured);
}

TEST(negotiation, offers_no_structured_replies_when_they_are_disabled) {
  auto options = two_disks();
  options.structured_replies = false;
  client c(options);
  EXPECT_THAT(c.start().send(option(nbd_option::structured_reply)),
              ElementsAre(refusal(nbd_option::structured_reply, "UNSUP",
                                  "structured replies are disabled")));
  EXPECT_EQ(c.send(option(nbd_option::go, info("xvda"))).back(), "(transmission xvda)");
  EXPECT_FALSE(c.machine().agreed().structured);
}

TEST(negotiation, refuses_unknown_options) {
  for (const unsigned number : {0U, 4U, 12U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    for (const std::size_t size : {0U, 1U, 65536U}) {
      client c(two_disks());
      const auto input = option(number, std::string(size, 'I')) + option(nbd_option::abort);
      EXPECT_THAT(c.start().send(input),
                  ElementsAre(refusal(nbd_option{number}, "UNSUP",
                                      "this server does not support that option"),
                              "NBD_OPT_ABORT: NBD_REP_ACK", client_left));
    }
  }
}

TEST(negotiation, echoes_the_number_of_an_unknown_option) {
  negotiation machine(two_disks());
  (void)machine.next();
  machine.feed(as_bytes(flags() + option(0x12345678)));
  EXPECT_EQ(hex(machine.next().bytes).substr(16, 16), "1234567880000001");
}

TEST(negotiation, takes_the_same_steps_for_any_split_of_the_input) {
  const auto input = flags() + option(99, "junk") + option(nbd_option::list) +
                     option(nbd_option::info, "short") + option(nbd_option::structured_reply) +
                     option(nbd_option::info, info("xvda", {1, 2, 3})) +
                     option(nbd_option::go, info("xvda"));
  client at_once(two_disks());
  const auto expected = at_once.send(input);
  EXPECT_EQ(expected.size(), 15U);
  for (const std::size_t size : {1U, 2U, 3U, 7U, 16U, 17U}) {
    client c(two_disks());
    EXPECT_EQ(c.send(input, size), expected) << size;
    EXPECT_TRUE(c.machine().agreed().structured);
  }
}

}  // namespace
}  // namespace xenpv::nbd
