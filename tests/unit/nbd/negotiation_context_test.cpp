// Metadata contexts: listing, selecting, and what of it lasts until transmission.
#include <gmock/gmock.h>

#include "nbd/negotiation.hpp"
#include "negotiation_client.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using ::testing::ElementsAre;
using wire::nbd_option;

constexpr auto list = nbd_option::list_meta_context;
constexpr auto set = nbd_option::set_meta_context;
const std::string list_ack = "NBD_OPT_LIST_META_CONTEXT: NBD_REP_ACK";
const std::string set_ack = "NBD_OPT_SET_META_CONTEXT: NBD_REP_ACK";

std::string listed(std::string_view name) {
  return "NBD_OPT_LIST_META_CONTEXT: NBD_REP_META_CONTEXT 00000000" + hex(name);
}
std::string selected(unsigned id, std::string_view name) {
  return "NBD_OPT_SET_META_CONTEXT: NBD_REP_META_CONTEXT " + hex(be32(id)) + hex(name);
}

class negotiation_contexts : public ::testing::Test {
 protected:
  negotiation_contexts() { (void)c.start().say(option(nbd_option::structured_reply)); }

  static negotiation_options disks() {
    negotiation_options out;
    out.exports.resize(2);
    out.exports[0].name = "xvda";
    out.exports[0].contexts = {"base:allocation", "x-test:dirty"};
    out.exports[1].name = "blind";
    return out;
  }

  std::vector<std::string> go(std::string_view name) {
    return c.say(option(nbd_option::go, info(name)));
  }

  client c{disks()};
};

TEST_F(negotiation_contexts, are_listed_all_without_a_query) {
  EXPECT_THAT(c.say(option(list, contexts("xvda"))),
              ElementsAre(listed("base:allocation"), listed("x-test:dirty"), list_ack));
  EXPECT_THAT(c.say(option(list, contexts("blind"))), ElementsAre(list_ack));
}

TEST_F(negotiation_contexts, are_listed_by_name_and_by_namespace) {
  EXPECT_THAT(c.say(option(list, contexts("xvda", {"base:"}))),
              ElementsAre(listed("base:allocation"), list_ack));
  EXPECT_THAT(c.say(option(list, contexts("xvda", {"x-test:dirty", "x-test:"}))),
              ElementsAre(listed("x-test:dirty"), list_ack));
  EXPECT_THAT(c.say(option(list, contexts("xvda", {"base:alloc", "qemu:dirty-bitmap:x"}))),
              ElementsAre(list_ack));
}

TEST_F(negotiation_contexts, are_selected_by_their_names_only) {
  EXPECT_THAT(c.say(option(set, contexts("xvda", {"x-test:dirty", "base:", "other:thing",
                                                  "base:allocation", "base:allocation"}))),
              ElementsAre(selected(1, "base:allocation"), selected(2, "x-test:dirty"), set_ack));
  EXPECT_THAT(c.say(option(set, contexts("xvda", {"base:"}))), ElementsAre(set_ack));
  EXPECT_THAT(c.say(option(set, contexts("xvda"))), ElementsAre(set_ack));
  EXPECT_THAT(c.say(option(set, contexts("blind", {"base:allocation"}))), ElementsAre(set_ack));
}

TEST_F(negotiation_contexts, last_into_transmission_of_the_same_export) {
  (void)c.say(option(set, contexts("xvda", {"x-test:dirty"})));
  EXPECT_EQ(go("xvda").back(), "(transmission xvda)");
  EXPECT_THAT(c.machine().agreed().contexts, ElementsAre(selected_context{2, "x-test:dirty"}));
  EXPECT_TRUE(c.machine().agreed().terms().block_status);
}

TEST_F(negotiation_contexts, do_not_last_for_another_export) {
  (void)c.say(option(set, contexts("xvda", {"base:allocation"})));
  EXPECT_EQ(go("blind").back(), "(transmission blind)");
  EXPECT_THAT(c.machine().agreed().contexts, ElementsAre());
  EXPECT_FALSE(c.machine().agreed().terms().block_status);
}

TEST_F(negotiation_contexts, are_replaced_by_every_further_set_also_one_that_fails) {
  const auto right = option(set, contexts("xvda", {"base:allocation"}));
  const std::string all[] = {option(set, contexts("xvda")),
                             option(set, contexts("xvda", {"other:thing"})),
                             option(set, contexts("nothing", {"base:allocation"})),
                             option(set, "junk"), option(set, contexts("xvda", {"no namespace"}))};
  for (const auto& second : all) {
    client fresh(disks());
    (void)fresh.start().say(option(nbd_option::structured_reply) + right + second);
    EXPECT_EQ(fresh.say(option(nbd_option::go, info("xvda"))).back(), "(transmission xvda)");
    EXPECT_THAT(fresh.machine().agreed().contexts, ElementsAre()) << hex(second);
  }
}

TEST_F(negotiation_contexts, are_not_changed_by_a_list) {
  (void)c.say(option(set, contexts("xvda", {"base:allocation"})) + option(list, contexts("blind")));
  (void)go("xvda");
  EXPECT_THAT(c.machine().agreed().contexts, ElementsAre(selected_context{1, "base:allocation"}));
}

TEST_F(negotiation_contexts, need_an_export_there_is) {
  EXPECT_THAT(c.say(option(list, contexts("nothing"))),
              ElementsAre("NBD_OPT_LIST_META_CONTEXT: NBD_REP_ERR_UNKNOWN "
                          "no export is called 'nothing'"));
}

TEST_F(negotiation_contexts, need_structured_replies) {
  for (const auto which : {list, set}) {
    client plain(disks());
    const auto said = option(which, contexts("xvda")) + option(nbd_option::abort);
    EXPECT_THAT(plain.start().say(said),
                ElementsAre(std::string(to_string(which)) +
                                ": NBD_REP_ERR_INVALID structured replies come first",
                            "NBD_OPT_ABORT: NBD_REP_ACK", "(closed: the client left)"));
  }
}

TEST_F(negotiation_contexts, refuse_lengths_that_do_not_add_up) {
  const auto good = contexts("xvda", {"base:allocation"});
  std::vector<std::string> all = {"",
                                  "abc",
                                  good + "x",
                                  good.substr(0, good.size() - 1),
                                  be32(0xFFFFFFFF) + "xvda" + be32(0),
                                  be32(4) + "xvda" + be32(0xFFFFFFFF),
                                  be32(4) + "xvda" + be32(2) + be32(5) + "base:",
                                  be32(4) + "xvda" + be32(1) + be32(0xFFFFFFFF),
                                  be32(4) + "xvda" + be32(1) + be32(0),
                                  be32(4) + "xvda" + be32(0) + "x"};
  all.push_back(contexts("xvda", {"allocation"}));
  all.push_back(contexts("xvda", {"base:" + std::string(4092, 'x')}));
  all.push_back(contexts(std::string(4097, 'x')));
  for (const auto which : {list, set}) {
    for (const auto& data : all) {
      client fresh(disks());
      (void)fresh.start().say(option(nbd_option::structured_reply));
      EXPECT_THAT(fresh.say(option(which, data) + option(nbd_option::abort)),
                  ElementsAre(std::string(to_string(which)) +
                                  ": NBD_REP_ERR_INVALID the lengths do not fit, or a query has no "
                                  "namespace",
                              "NBD_OPT_ABORT: NBD_REP_ACK", "(closed: the client left)"))
          << hex(data.substr(0, 64));
    }
  }
}

}  // namespace
}  // namespace xenpv::nbd
