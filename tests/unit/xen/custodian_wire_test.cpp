#include "xen/custodian_wire.hpp"

#include <gtest/gtest.h>

namespace xenpv::xen {
namespace {

using std::chrono::milliseconds;

template <class Request>
Request decoded_as(const custodian_request& request) {
  const auto decoded = decode_request(encode(request));
  EXPECT_TRUE(decoded);
  EXPECT_TRUE(std::holds_alternative<Request>(decoded.value()));
  return std::get<Request>(decoded.value());
}

TEST(custodian_wire, round_trips_simple_requests) {
  EXPECT_EQ(decoded_as<keep_request>(keep_request{0x1122334455667788}).id, 0x1122334455667788U);
  decoded_as<hold_request>(hold_request{});
  decoded_as<resumed_request>(resumed_request{});
  decoded_as<clean_up_request>(clean_up_request{});
  decoded_as<stop_request>(stop_request{});
  EXPECT_EQ(decoded_as<release_request>(release_request{0x1122334455667788}).id,
            0x1122334455667788U);
  EXPECT_EQ(decoded_as<clear_cleanup_request>(clear_cleanup_request{"xvdb"}).name, "xvdb");
}

TEST(custodian_wire, round_trips_every_kind_of_step) {
  const std::string binary("a\0b", 3);
  const auto request = decoded_as<set_cleanup_request>(set_cleanup_request{
      "xvdb",
      {cleanup_write{"device/vbd/51728/state", binary}, cleanup_remove{"data/x"},
       cleanup_wait{"/backend/state", {"5", "6", ""}, milliseconds(2500)}}});
  EXPECT_EQ(request.name, "xvdb");
  ASSERT_EQ(request.steps.size(), 3U);
  const auto& write = std::get<cleanup_write>(request.steps[0]);
  EXPECT_EQ(write.path, "device/vbd/51728/state");
  EXPECT_EQ(write.value, binary);
  EXPECT_EQ(std::get<cleanup_remove>(request.steps[1]).path, "data/x");
  const auto& wait = std::get<cleanup_wait>(request.steps[2]);
  EXPECT_EQ(wait.path, "/backend/state");
  EXPECT_EQ(wait.values, (std::vector<std::string>{"5", "6", ""}));
  EXPECT_EQ(wait.at_most, milliseconds(2500));
}

TEST(custodian_wire, round_trips_replies) {
  const custodian_reply reply{.value = 42, .refusal = 3, .reason = "why"};
  EXPECT_EQ(decode_reply(encode(reply)).value(), reply);
}

TEST(custodian_wire, rejects_every_truncation) {
  const auto request = encode(set_cleanup_request{
      "n", {cleanup_write{"p", "v"}, cleanup_wait{"q", {"6"}, milliseconds(1)}}});
  for (std::size_t size = 0; size < request.size(); ++size)
    EXPECT_FALSE(decode_request(std::string_view(request).substr(0, size))) << size;
  const auto reply = encode(custodian_reply{.reason = "why"});
  for (std::size_t size = 0; size < reply.size(); ++size)
    EXPECT_FALSE(decode_reply(std::string_view(reply).substr(0, size))) << size;
}

TEST(custodian_wire, rejects_trailing_bytes) {
  EXPECT_FALSE(decode_request(encode(keep_request{}) + "x"));
  EXPECT_FALSE(decode_reply(encode(custodian_reply{}) + "x"));
}

TEST(custodian_wire, rejects_an_unknown_kind) {
  const auto decoded = decode_request("\xff");
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, errc::protocol_violation);
  EXPECT_EQ(decoded.error().text, "decode a request to the custodian: protocol violation");
}

}  // namespace
}  // namespace xenpv::xen
