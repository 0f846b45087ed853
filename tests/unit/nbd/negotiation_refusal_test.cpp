// Option haggling with faulty, malicious or late clients, and with clients that must use TLS.
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
  out.tls = tls;
  return out;
}

const std::string abort_ack = "NBD_OPT_ABORT: NBD_REP_ACK";

/// Expects exactly this error reply to the option, and that the next option is parsed correctly.
void expect_refused(nbd_option which, const std::string& data, std::string_view type,
                    std::string_view text) {
  client c(one_disk());
  const auto input = option(which, data) + option(nbd_option::abort);
  EXPECT_THAT(c.start().send(input),
              ElementsAre(refusal(which, type, text), abort_ack, client_left))
      << hex(data.substr(0, 64));
}

TEST(negotiation, refuses_data_of_options_that_take_none) {
  for (const std::size_t size : {1U, 16U, 65536U}) {
    const std::string data(size, 'x');
    expect_refused(nbd_option::list, data, "INVALID", "NBD_OPT_LIST takes no data");
    expect_refused(nbd_option::starttls, data, "INVALID", "NBD_OPT_STARTTLS takes no data");
    expect_refused(nbd_option::structured_reply, data, "INVALID",
                   "NBD_OPT_STRUCTURED_REPLY takes no data");
  }
}

TEST(negotiation, refuses_an_export_whose_device_is_lost) {
  auto options = one_disk();
  options.exports.push_back({.name = "xvdb", .description = {}, .size = 4096});
  options.exports[1].unavailable = "unplugged";
  options.default_export = "xvdb";
  const std::string text = "export 'xvdb' is not available: unplugged";
  client c(options);
  c.start();
  EXPECT_THAT(
      c.send(option(nbd_option::list)),
      ElementsAre("NBD_OPT_LIST: NBD_REP_SERVER 0000000478766461", "NBD_OPT_LIST: NBD_REP_ACK"));
  EXPECT_THAT(c.send(option(nbd_option::info, info("xvdb"))),
              ElementsAre(refusal(nbd_option::info, "UNKNOWN", text)));
  EXPECT_THAT(c.send(option(nbd_option::go, info(""))),
              ElementsAre(refusal(nbd_option::go, "UNKNOWN", text)))
      << "a client that wants the default export must not get another one";
  EXPECT_EQ(c.machine().last_refusal(), "NBD_OPT_GO: " + text);
  EXPECT_EQ(c.send(option(nbd_option::go, info("xvdc"))).size(), 1U);
  EXPECT_EQ(c.machine().last_refusal(), "NBD_OPT_GO: there is no export 'xvdc', only 'xvda'");
  EXPECT_EQ(c.send(option(nbd_option::go, info("xvda"))).back(), "(transmission xvda)");
  client old(options);
  EXPECT_THAT(old.start().send(option(nbd_option::export_name, "xvdb")),
              ElementsAre("(closed: NBD_OPT_EXPORT_NAME: " + text + ")"));
}

TEST(negotiation, refuses_inconsistent_lengths_in_info_and_go) {
  const auto good = info("xvda", {3});
  std::vector<std::string> all = {
      "",
      "abc",
      std::string(5, '\0'),  // 0, 3 and 5 bytes
      good + "x",
      good.substr(0, good.size() - 1),       // one byte too many, one too few
      be32(5) + "xvda" + be16(0),            // the name includes half of the count
      be32(4) + "xvda",                      // no count
      be32(4) + "xvda" + be16(2) + be16(3),  // one type fewer than announced
      be32(4) + "xvda" + be16(0) + be16(3),  // one type more than announced
      be32(4) + "xvda" + be16(0xFFFF),
      be32(0xFFFFFFFF) + "xvda" + be16(0),
      be32(0xFFFFFFFA) + "xvda" + be16(0)};
  all.push_back(info(std::string(4097, 'x')));
  all.push_back(info(std::string_view("xv\0da", 5)));
  all.push_back(info("\xff"));
  for (const auto which : {nbd_option::info, nbd_option::go})
    for (const auto& data : all)
      expect_refused(which, data, "INVALID", "inconsistent lengths or an invalid name");
}

TEST(negotiation, refuses_the_options_for_metadata_contexts) {
  const auto text = "this server does not support that option";
  const auto query = be32(4) + "xvda" + be32(1) + be32(15) + "base:allocation";
  for (const auto which : {nbd_option::list_meta_context, nbd_option::set_meta_context}) {
    for (const auto& data : {std::string(), std::string("junk"), query}) {
      expect_refused(which, data, "UNSUP", text);
      client c(one_disk());
      EXPECT_THAT(c.start().send(option(nbd_option::structured_reply)),
                  ElementsAre("NBD_OPT_STRUCTURED_REPLY: NBD_REP_ACK"));
      EXPECT_THAT(c.send(option(which, data)), ElementsAre(refusal(which, "UNSUP", text)));
      EXPECT_EQ(c.send(option(nbd_option::go, info("xvda"))).back(), "(transmission xvda)");
      EXPECT_TRUE(c.machine().agreed().structured);
    }
  }
}

TEST(negotiation, refuses_an_unknown_name_of_4096_bytes_in_less_than_1024) {
  client c(one_disk());
  c.start();
  const auto steps = c.send(option(nbd_option::go, info(std::string(4096, 'x'))));
  const auto text = "there is no export '" + std::string(1023 - 20, 'x');
  EXPECT_THAT(steps, ElementsAre(refusal(nbd_option::go, "UNKNOWN", text)));
}

TEST(negotiation, remembers_which_name_was_unknown_and_which_exist_until_the_client_leaves) {
  client c(one_disk());
  c.start();
  c.send(option(nbd_option::go, info("no\xE2\x80\xAEsuch")));
  const auto* const text = "NBD_OPT_GO: there is no export 'no\\xe2\\x80\\xaesuch', only 'xvda'";
  EXPECT_EQ(c.machine().last_refusal(), text);
  c.send(option(nbd_option::abort));
  EXPECT_EQ(c.machine().last_refusal(), text);

  client corrected(one_disk());
  corrected.start();
  corrected.send(option(nbd_option::go, info("nosuch")));
  corrected.send(option(nbd_option::info, info("xvda")));
  EXPECT_EQ(corrected.machine().last_refusal(), "");
}

TEST(negotiation, drops_a_client_that_announces_too_much_data_without_reading_it) {
  for (const std::uint32_t size : {65537U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    for (const unsigned number : {2U, 3U, 7U}) {
      client c(one_disk());
      c.start();
      const auto input = "IHAVEOPT" + be32(number) + be32(size);
      EXPECT_THAT(c.send(input),
                  ElementsAre("(dropped: " + std::string(to_string(nbd_option{number})) + " with " +
                              std::to_string(size) + " bytes of data)"));
    }
  }
}

TEST(negotiation, drops_an_option_with_an_invalid_magic_number) {
  for (std::size_t at = 0; at < 8; ++at) {
    client c(one_disk());
    auto input = option(nbd_option::list);
    input[at] = '?';
    EXPECT_THAT(c.start().send(input), ElementsAre("(dropped: invalid magic number in an option)"));
  }
}

TEST(negotiation, accepts_32_options_and_32_more_for_each_listed_export) {
  const std::string too_many = "(dropped: too many options)";
  client c(one_disk());
  c.start();
  for (int i = 0; i < 32; ++i)
    EXPECT_EQ(c.send(option(99)).size(), 1U);
  EXPECT_THAT(c.send(option(99)), ElementsAre(too_many));

  client listing(one_disk());
  listing.start();
  for (int i = 0; i < 64; ++i)  // only the first NBD_OPT_LIST raises the limit
    EXPECT_EQ(listing.send(option(nbd_option::list)).size(), 2U) << i;
  EXPECT_THAT(listing.send(option(nbd_option::list)), ElementsAre(too_many));
}

TEST(negotiation, answers_everything_but_abort_with_shutdown) {
  const auto text = "the server is shutting down";
  for (const auto which :
       {nbd_option::list, nbd_option::starttls, nbd_option::info, nbd_option::go,
        nbd_option::structured_reply, nbd_option::list_meta_context, nbd_option{77}}) {
    client c(one_disk(tls_mode::require));
    c.start().machine().shut_down();
    EXPECT_THAT(c.send(option(which, info("xvda"))), ElementsAre(refusal(which, "SHUTDOWN", text)));
    EXPECT_THAT(c.send(option(nbd_option::abort)), ElementsAre(abort_ack, client_left));
  }
  client c(one_disk());
  c.start().machine().shut_down();
  EXPECT_THAT(c.send(option(nbd_option::export_name, "xvda")),
              ElementsAre("(closed: NBD_OPT_EXPORT_NAME: the server is shutting down)"));
}

TEST(negotiation, refuses_tls_unless_it_is_configured) {
  expect_refused(nbd_option::starttls, "", "POLICY", "TLS is not configured on this server");
}

TEST(negotiation, requires_tls_in_require_mode) {
  const auto text = "the server requires TLS";
  for (const auto which :
       {nbd_option::list, nbd_option::info, nbd_option::go, nbd_option::structured_reply,
        nbd_option::list_meta_context, nbd_option::set_meta_context, nbd_option{77}}) {
    client c(one_disk(tls_mode::require));
    EXPECT_THAT(c.start().send(option(which, info("xvda"))),
                ElementsAre(refusal(which, "TLS_REQD", text)));
    EXPECT_THAT(c.send(option(nbd_option::abort)), ElementsAre(abort_ack, client_left));
  }
  client c(one_disk(tls_mode::require));
  EXPECT_THAT(c.start().send(option(nbd_option::export_name, "xvda")),
              ElementsAre("(closed: NBD_OPT_EXPORT_NAME: the server requires TLS)"));
}

TEST(negotiation, starts_tls_after_the_acknowledgement) {
  for (const auto mode : {tls_mode::on, tls_mode::require}) {
    client c(one_disk(mode));
    EXPECT_THAT(c.start().send(option(nbd_option::starttls)),
                ElementsAre("NBD_OPT_STARTTLS: NBD_REP_ACK", "(TLS)"));
    EXPECT_THAT(c.send({}), ElementsAre("(TLS)")) << "no other step until TLS has started";
    c.machine().tls_started();
    EXPECT_THAT(c.send(option(nbd_option::starttls)),
                ElementsAre(refusal(nbd_option::starttls, "INVALID", "TLS is already in use")));
    EXPECT_EQ(c.send(option(nbd_option::go, info("xvda"))).back(), "(transmission xvda)");
  }
}

TEST(negotiation, discards_the_plaintext_negotiation_when_tls_starts) {
  client c(one_disk(tls_mode::on));
  c.start();
  EXPECT_THAT(c.send(option(nbd_option::structured_reply)),
              ElementsAre("NBD_OPT_STRUCTURED_REPLY: NBD_REP_ACK"));
  EXPECT_EQ(c.send(option(nbd_option::starttls)).back(), "(TLS)");
  c.machine().tls_started();
  EXPECT_EQ(c.send(option(nbd_option::go, info("xvda"))).back(), "(transmission xvda)");
  EXPECT_FALSE(c.machine().agreed().structured);
}

TEST(negotiation, keeps_the_client_flags_over_tls) {
  client c(one_disk(tls_mode::on));
  EXPECT_EQ(c.start(3).send(option(nbd_option::starttls)).back(), "(TLS)");
  c.machine().tls_started();
  EXPECT_THAT(c.send(option(nbd_option::export_name, "xvda")),
              ElementsAre("00000000001000000001", "(transmission xvda)"));
}

TEST(negotiation, accepts_no_plaintext_after_starttls) {
  for (const auto& more : {option(nbd_option::structured_reply), std::string("\x16")}) {
    client c(one_disk(tls_mode::on));
    EXPECT_THAT(c.start().send(option(nbd_option::starttls) + more),
                ElementsAre("(dropped: data after NBD_OPT_STARTTLS, before TLS)"));
  }
  client c(one_disk(tls_mode::on));
  EXPECT_EQ(c.start().send(option(nbd_option::starttls)).back(), "(TLS)");
  c.machine().feed(as_bytes(option(nbd_option::structured_reply)));  // misuse: TLS must start first
  c.machine().tls_started();
  EXPECT_EQ(c.send({}), lines{});
  EXPECT_EQ(c.send(option(nbd_option::go, info("xvda"))).back(), "(transmission xvda)");
  EXPECT_FALSE(c.machine().agreed().structured);
}

}  // namespace
}  // namespace xenpv::nbd
