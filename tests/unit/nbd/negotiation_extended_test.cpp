// Negotiation of extended headers.
#include <gtest/gtest.h>

#include "full_export.hpp"
#include "negotiation_client.hpp"

namespace xenpv::nbd::test {
namespace {

using wire::nbd_option;
using steps = std::vector<std::string>;

client connect(tls_mode tls = tls_mode::off) {
  negotiation_options options;
  options.exports = {full_export(1024 * mib)};
  options.tls = tls;
  client out(std::move(options));
  out.start();
  return out;
}

TEST(extended_headers, imply_structured_replies) {
  auto peer = connect();
  EXPECT_EQ(peer.send(option(nbd_option::extended_headers)),
            steps{"NBD_OPT_EXTENDED_HEADERS: NBD_REP_ACK"});
  const auto answer = peer.send(option(nbd_option::go, info("disk")));
  EXPECT_EQ(answer.back(), "(transmission disk)");
  EXPECT_TRUE(peer.machine().agreed().terms().extended);
  EXPECT_TRUE(peer.machine().agreed().terms().structured);
  // NBD_FLAG_SEND_DF
  EXPECT_NE(number_at(unhex(answer.front().substr(answer.front().rfind(' ') + 1)), 10, 2) & 0x80U,
            0U);
}

TEST(extended_headers, are_off_unless_requested) {
  auto peer = connect();
  (void)peer.send(option(nbd_option::structured_reply) + option(nbd_option::go, info("disk")));
  EXPECT_TRUE(peer.machine().agreed().terms().structured);
  EXPECT_FALSE(peer.machine().agreed().terms().extended);
}

TEST(extended_headers, may_follow_structured_replies_but_not_precede_them) {
  auto peer = connect();
  EXPECT_EQ(peer.send(option(nbd_option::structured_reply)),
            steps{"NBD_OPT_STRUCTURED_REPLY: NBD_REP_ACK"});
  EXPECT_EQ(peer.send(option(nbd_option::extended_headers)),
            steps{"NBD_OPT_EXTENDED_HEADERS: NBD_REP_ACK"});
  EXPECT_EQ(peer.send(option(nbd_option::structured_reply)),
            steps{"NBD_OPT_STRUCTURED_REPLY: NBD_REP_ERR_EXT_HEADER_REQD extended headers are in "
                  "use"});
  EXPECT_TRUE(peer.machine().agreed().terms().extended);
}

TEST(extended_headers, are_refused_a_second_time_and_with_data) {
  auto peer = connect();
  EXPECT_EQ(peer.send(option(nbd_option::extended_headers, "x")),
            steps{"NBD_OPT_EXTENDED_HEADERS: NBD_REP_ERR_INVALID NBD_OPT_EXTENDED_HEADERS takes "
                  "no data"});
  EXPECT_FALSE(peer.machine().agreed().terms().extended);
  (void)peer.send(option(nbd_option::extended_headers));
  EXPECT_EQ(peer.send(option(nbd_option::extended_headers)),
            steps{"NBD_OPT_EXTENDED_HEADERS: NBD_REP_ERR_INVALID extended headers are already in "
                  "use"});
  EXPECT_TRUE(peer.machine().agreed().terms().extended);
}

TEST(extended_headers, exclude_the_option_without_a_reply_header) {
  auto peer = connect();
  EXPECT_EQ(
      peer.send(option(nbd_option::extended_headers) + option(nbd_option::export_name, "disk"))
          .back(),
      "(dropped: NBD_OPT_EXPORT_NAME after NBD_OPT_EXTENDED_HEADERS)");
}

TEST(extended_headers, agreed_before_tls_do_not_count) {
  auto peer = connect(tls_mode::on);
  (void)peer.send(option(nbd_option::extended_headers));
  EXPECT_EQ(peer.send(option(nbd_option::starttls)).back(), "(TLS)");
  peer.machine().tls_started(access::read_write);
  (void)peer.run();
  EXPECT_FALSE(peer.machine().agreed().terms().extended);
}

}  // namespace
}  // namespace xenpv::nbd::test
