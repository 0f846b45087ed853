// Option haggling: the owner admits or refuses clients, and decides what they may do.
#include <gmock/gmock.h>

#include "nbd/negotiation.hpp"
#include "negotiation_client.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using wire::nbd_option;
using wire::nbd_reply;

negotiation_options two_exports(access rights = access::read_write, tls_mode tls = tls_mode::off) {
  negotiation_options out;
  out.exports.resize(2);
  out.exports[0].name = "xvda";
  out.exports[1].name = "xvdb";
  for (auto& entry : out.exports)
    entry.size = 1U << 20U;
  out.default_export = "xvda";
  out.rights = rights;
  out.tls = tls;
  return out;
}
const auto go = option(nbd_option::go, info("xvdb"));
const auto abort_option = option(nbd_option::abort);
const std::string end_ack = "NBD_OPT_ABORT: NBD_REP_ACK";
/// An export of 1 MiB: HAS_FLAGS, and READ_ONLY if the client may not write.
const std::string writable = "NBD_REP_INFO 000000000000001000000001";
const std::string not_writable = "NBD_REP_INFO 000000000000001000000003";

TEST(negotiation_admission, a_choice_is_not_answered_before_the_client_is_admitted) {
  client c(two_exports());
  c.start().wait_for_admission();
  EXPECT_THAT(c.send(go), IsEmpty());
  EXPECT_EQ(c.machine().next().what, negotiation_step::action::admit);
  EXPECT_EQ(c.machine().agreed().export_index, 1U);
  EXPECT_EQ(c.machine().agreed_export().name, "xvdb");
  c.machine().admit();
  EXPECT_THAT(c.run(), ElementsAre(StartsWith("NBD_OPT_GO: NBD_REP_INFO"),
                                   "NBD_OPT_GO: NBD_REP_ACK", "(transmission xvdb)"));
}

TEST(negotiation_admission, a_refused_client_may_try_again) {
  client c(two_exports());
  c.start().wait_for_admission();
  (void)c.send(go);
  c.machine().refuse(nbd_reply::err_policy, "too many clients");
  EXPECT_THAT(c.run(), ElementsAre(refusal(nbd_option::go, "POLICY", "too many clients")));
  EXPECT_THAT(c.send(go), IsEmpty());
  c.machine().admit();
  EXPECT_EQ(c.run().back(), "(transmission xvdb)");
}

TEST(negotiation_admission, export_name_is_admitted_and_refused_like_go) {
  client c(two_exports());
  c.start().wait_for_admission();
  EXPECT_THAT(c.send(option(nbd_option::export_name, "xvdb")), IsEmpty());
  c.machine().admit();
  EXPECT_THAT(c.run(), ElementsAre("00000000001000000001", "(transmission xvdb)"));

  client refused(two_exports());
  refused.start().wait_for_admission();
  (void)refused.send(option(nbd_option::export_name, "xvdb"));
  refused.machine().refuse(nbd_reply::err_policy, "too many clients");
  EXPECT_THAT(refused.run(), ElementsAre("(closed: NBD_OPT_EXPORT_NAME: too many clients)"));
}

TEST(negotiation_admission, requests_sent_with_the_choice_are_kept) {
  client c(two_exports());
  c.start().wait_for_admission();
  (void)c.send(go + "first request");
  c.machine().admit();
  (void)c.run();
  const auto rest = c.machine().rest();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(rest.data()), rest.size()), "first request");
}

TEST(negotiation_admission, a_client_without_the_right_to_write_gets_read_only_exports) {
  client c(two_exports(access::read_only));
  c.start();
  EXPECT_THAT(c.send(option(nbd_option::info, info("xvda"))),
              ElementsAre("NBD_OPT_INFO: " + not_writable, "NBD_OPT_INFO: NBD_REP_ACK"));
  EXPECT_THAT(c.send(go), ElementsAre("NBD_OPT_GO: " + not_writable, "NBD_OPT_GO: NBD_REP_ACK",
                                      "(transmission xvdb)"));
  EXPECT_TRUE(c.machine().agreed_export().read_only);
}

TEST(negotiation_admission, a_client_without_rights_is_refused_with_the_reason) {
  client c(two_exports(access::none));
  const std::string text = "the server's access list denies access";
  EXPECT_THAT(
      c.start().send(option(nbd_option::list) + option(nbd_option::starttls) + go + abort_option),
      ElementsAre(refusal(nbd_option::list, "POLICY", text),
                  refusal(nbd_option::starttls, "POLICY",
                          "TLS is not configured on this "
                          "server"),
                  refusal(nbd_option::go, "POLICY", text), end_ack, client_left));
  client old(two_exports(access::none));
  EXPECT_THAT(old.start().send(option(nbd_option::export_name, "xvda")),
              ElementsAre("(closed: NBD_OPT_EXPORT_NAME: " + text + ")"));
}

TEST(negotiation_admission, an_identity_can_add_and_remove_rights) {
  struct row {
    access before;
    access after;
    std::string answer;
  };
  for (const auto& [before, after, answer] :
       {row{access::none, access::read_write, "NBD_OPT_GO: " + writable},
        row{access::none, access::read_only, "NBD_OPT_GO: " + not_writable},
        row{access::read_only, access::read_write, "NBD_OPT_GO: " + writable},
        row{access::read_write, access::none,
            refusal(nbd_option::go, "POLICY", "the server's access list denies access")}}) {
    client c(two_exports(before, tls_mode::on));
    c.start();
    EXPECT_THAT(c.send(option(nbd_option::starttls)),
                ElementsAre("NBD_OPT_STARTTLS: NBD_REP_ACK", "(TLS)"));
    c.machine().tls_started(after);
    EXPECT_THAT(c.run(), IsEmpty());
    EXPECT_EQ(c.send(go).front(), answer);
  }
}

TEST(negotiation_admission, the_last_refusal_names_what_the_client_asked_for_and_what_exists) {
  client c(two_exports());
  c.start();
  (void)c.send(option(77));
  EXPECT_EQ(c.machine().last_refusal(), "") << "clients may try options";
  (void)c.send(option(nbd_option::go, info("x\x1b[31my")));
  EXPECT_EQ(c.machine().last_refusal(),
            "NBD_OPT_GO: there is no export 'x\\x1b[31my', only 'xvda', 'xvdb'");
  (void)c.send(option(nbd_option::list));
  EXPECT_EQ(c.machine().last_refusal(), "") << "the client went on";
  client old(two_exports());
  EXPECT_THAT(old.start().send(option(nbd_option::export_name, "x")),
              ElementsAre("(closed: NBD_OPT_EXPORT_NAME: there is no export 'x', only 'xvda', "
                          "'xvdb')"));
  negotiation_options none;
  client nothing(none);
  EXPECT_THAT(nothing.start().send(option(nbd_option::export_name, "x")),
              ElementsAre("(closed: NBD_OPT_EXPORT_NAME: there is no export 'x')"));
}

TEST(negotiation_admission, long_names_are_shortened_in_the_last_refusal) {
  client c(two_exports());
  (void)c.start().send(option(nbd_option::go, info(std::string(4000, 'x'))));
  EXPECT_LT(c.machine().last_refusal().size(), 400U);
}

}  // namespace
}  // namespace xenpv::nbd
