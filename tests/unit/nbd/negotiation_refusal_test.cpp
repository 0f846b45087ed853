// Option haggling with clients that get it wrong, mean harm, come too late, or have to speak TLS.
#include <gmock/gmock.h>

#include "nbd/negotiation.hpp"
#include "negotiation_client.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using ::testing::ElementsAre;
using wire::nbd_option;
using lines = std::vector<std::string>;

negotiation_options one_disk(tls_mode tls = tls_mode::off) {
  negotiation_options out;
  out.exports.resize(1);
  out.exports[0].name = "xvda";
  out.exports[0].size = 1U << 20U;
  out.exports[0].contexts = {"base:allocation"};
  out.tls = tls;
  return out;
}

const std::string abort_ack = "NBD_OPT_ABORT: NBD_REP_ACK";

/// The option gets that one answer, and the next option is understood.
void expect_refused(nbd_option which, const std::string& data, std::string_view type,
                    std::string_view text) {
  client c(one_disk());
  const auto said = option(which, data) + option(nbd_option::abort);
  EXPECT_THAT(c.start().say(said), ElementsAre(refusal(which, type, text), abort_ack, client_left))
      << hex(data.substr(0, 64));
}

TEST(negotiation, refuses_data_where_there_is_to_be_none) {
  for (const std::size_t size : {1U, 16U, 65536U}) {
    const std::string data(size, 'x');
    expect_refused(nbd_option::list, data, "INVALID", "NBD_OPT_LIST takes no data");
    expect_refused(nbd_option::starttls, data, "INVALID", "NBD_OPT_STARTTLS takes no data");
    expect_refused(nbd_option::structured_reply, data, "INVALID",
                   "NBD_OPT_STRUCTURED_REPLY takes no data");
  }
}

TEST(negotiation, refuses_lengths_of_info_and_go_that_do_not_add_up) {
  const auto good = info("xvda", {3});
  std::vector<std::string> all = {
      "",
      "abc",
      std::string(5, '\0'),  // 0, 3 and 5 bytes
      good + "x",
      good.substr(0, good.size() - 1),       // something over, something missing
      be32(5) + "xvda" + be16(0),            // the name eats the count
      be32(4) + "xvda",                      // no count
      be32(4) + "xvda" + be16(2) + be16(3),  // one type less than said
      be32(4) + "xvda" + be16(0) + be16(3),  // one more
      be32(4) + "xvda" + be16(0xFFFF),
      be32(0xFFFFFFFF) + "xvda" + be16(0),
      be32(0xFFFFFFFA) + "xvda" + be16(0)};
  all.push_back(info(std::string(4097, 'x')));
  all.push_back(info(std::string_view("xv\0da", 5)));
  all.push_back(info("\xff"));
  for (const auto which : {nbd_option::info, nbd_option::go})
    for (const auto& data : all)
      expect_refused(which, data, "INVALID", "the lengths do not fit, or the name is no string");
}

TEST(negotiation, knows_no_export_with_a_name_of_4096_bytes_and_says_so_in_less_than_1024) {
  client c(one_disk());
  c.start();
  const auto told = c.say(option(nbd_option::go, info(std::string(4096, 'x'))));
  const auto text = "no export is called '" + std::string(1023 - 21, 'x');
  EXPECT_THAT(told, ElementsAre(refusal(nbd_option::go, "UNKNOWN", text)));
}

TEST(negotiation, drops_who_announces_too_much_data_without_reading_it) {
  for (const std::uint32_t size : {65537U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    for (const unsigned number : {2U, 3U, 7U}) {
      client c(one_disk());
      c.start();
      const auto said = "IHAVEOPT" + be32(number) + be32(size);
      EXPECT_THAT(c.say(said),
                  ElementsAre("(dropped: " + std::string(to_string(nbd_option{number})) + " with " +
                              std::to_string(size) + " bytes of data)"));
    }
  }
}

TEST(negotiation, drops_an_option_without_its_magic) {
  for (std::size_t at = 0; at < 8; ++at) {
    client c(one_disk());
    auto said = option(nbd_option::list);
    said[at] = '?';
    EXPECT_THAT(c.start().say(said), ElementsAre("(dropped: an option without its magic number)"));
  }
}

TEST(negotiation, takes_32_options_and_32_more_for_each_export_it_listed) {
  const std::string too_many = "(dropped: too many options)";
  client c(one_disk());
  c.start();
  for (int i = 0; i < 32; ++i)
    EXPECT_EQ(c.say(option(99)).size(), 1U);
  EXPECT_THAT(c.say(option(99)), ElementsAre(too_many));

  client listing(one_disk());
  listing.start();
  for (int i = 0; i < 64; ++i)  // only the first list counts
    EXPECT_EQ(listing.say(option(nbd_option::list)).size(), 2U) << i;
  EXPECT_THAT(listing.say(option(nbd_option::list)), ElementsAre(too_many));
}

TEST(negotiation, answers_everything_but_abort_with_shutdown) {
  const auto text = "the server is shutting down";
  for (const auto which :
       {nbd_option::list, nbd_option::starttls, nbd_option::info, nbd_option::go,
        nbd_option::structured_reply, nbd_option::list_meta_context, nbd_option{77}}) {
    client c(one_disk(tls_mode::require));
    c.start().machine().shut_down();
    EXPECT_THAT(c.say(option(which, info("xvda"))), ElementsAre(refusal(which, "SHUTDOWN", text)));
    EXPECT_THAT(c.say(option(nbd_option::abort)), ElementsAre(abort_ack, client_left));
  }
  client c(one_disk());
  c.start().machine().shut_down();
  EXPECT_THAT(c.say(option(nbd_option::export_name, "xvda")),
              ElementsAre("(closed: NBD_OPT_EXPORT_NAME: the server is shutting down)"));
}

TEST(negotiation, has_no_tls_unless_it_is_set_up) {
  expect_refused(nbd_option::starttls, "", "POLICY", "this server is not set up for TLS");
}

TEST(negotiation, insists_on_tls_where_it_is_required) {
  const auto text = "the server insists on TLS";
  for (const auto which :
       {nbd_option::list, nbd_option::info, nbd_option::go, nbd_option::structured_reply,
        nbd_option::list_meta_context, nbd_option::set_meta_context, nbd_option{77}}) {
    client c(one_disk(tls_mode::require));
    EXPECT_THAT(c.start().say(option(which, info("xvda"))),
                ElementsAre(refusal(which, "TLS_REQD", text)));
    EXPECT_THAT(c.say(option(nbd_option::abort)), ElementsAre(abort_ack, client_left));
  }
  client c(one_disk(tls_mode::require));
  EXPECT_THAT(c.start().say(option(nbd_option::export_name, "xvda")),
              ElementsAre("(closed: NBD_OPT_EXPORT_NAME: the server insists on TLS)"));
}

TEST(negotiation, starts_tls_after_the_acknowledgement) {
  for (const auto mode : {tls_mode::on, tls_mode::require}) {
    client c(one_disk(mode));
    EXPECT_THAT(c.start().say(option(nbd_option::starttls)),
                ElementsAre("NBD_OPT_STARTTLS: NBD_REP_ACK", "(TLS)"));
    EXPECT_THAT(c.say({}), ElementsAre("(TLS)")) << "nothing else until that is done";
    c.machine().tls_started();
    EXPECT_THAT(c.say(option(nbd_option::starttls)),
                ElementsAre(refusal(nbd_option::starttls, "INVALID", "TLS is in use already")));
    EXPECT_EQ(c.say(option(nbd_option::go, info("xvda"))).back(), "(transmission xvda)");
  }
}

TEST(negotiation, forgets_at_tls_what_was_agreed_on_in_plaintext) {
  client c(one_disk(tls_mode::on));
  c.start();
  const auto set_context =
      option(nbd_option::set_meta_context, contexts("xvda", {"base:allocation"}));
  EXPECT_EQ(c.say(option(nbd_option::structured_reply) + set_context).size(), 3U);
  EXPECT_EQ(c.say(option(nbd_option::starttls)).back(), "(TLS)");
  c.machine().tls_started();
  EXPECT_THAT(c.say(set_context), ElementsAre(refusal(nbd_option::set_meta_context, "INVALID",
                                                      "structured replies come first")));
  EXPECT_EQ(c.say(option(nbd_option::go, info("xvda"))).back(), "(transmission xvda)");
  EXPECT_FALSE(c.machine().agreed().structured);
  EXPECT_TRUE(c.machine().agreed().contexts.empty());
}

TEST(negotiation, keeps_the_client_flags_over_tls) {
  client c(one_disk(tls_mode::on));
  EXPECT_EQ(c.start(3).say(option(nbd_option::starttls)).back(), "(TLS)");
  c.machine().tls_started();
  EXPECT_THAT(c.say(option(nbd_option::export_name, "xvda")),
              ElementsAre("00000000001000000001", "(transmission xvda)"));
}

TEST(negotiation, takes_no_plaintext_behind_starttls) {
  for (const auto& more : {option(nbd_option::structured_reply), std::string("\x16")}) {
    client c(one_disk(tls_mode::on));
    EXPECT_THAT(c.start().say(option(nbd_option::starttls) + more),
                ElementsAre("(dropped: data behind NBD_OPT_STARTTLS, before TLS)"));
  }
  client c(one_disk(tls_mode::on));
  EXPECT_EQ(c.start().say(option(nbd_option::starttls)).back(), "(TLS)");
  c.machine().feed(as_bytes(option(nbd_option::structured_reply)));  // against the rules
  c.machine().tls_started();
  EXPECT_EQ(c.say({}), lines{});
  EXPECT_EQ(c.say(option(nbd_option::go, info("xvda"))).back(), "(transmission xvda)");
  EXPECT_FALSE(c.machine().agreed().structured);
}

}  // namespace
}  // namespace xenpv::nbd
