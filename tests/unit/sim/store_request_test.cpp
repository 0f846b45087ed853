#include "sim/store_request.hpp"

#include <gtest/gtest.h>

#include "unit/sim/store_client.hpp"

namespace xenpv::sim {
namespace {

using namespace std::string_literals;
using test::encode;
using wire::xs_type;

TEST(sole_string, requires_one_nul_at_the_end) {
  EXPECT_EQ(sole_string("abc\0"s), "abc");
  EXPECT_EQ(sole_string("\0"s), "");
  EXPECT_EQ(sole_string(""), std::nullopt);
  EXPECT_EQ(sole_string("abc"), std::nullopt);
  EXPECT_EQ(sole_string("abc\0d"s), std::nullopt);
  EXPECT_EQ(sole_string("abc\0\0"s), std::nullopt);
}

TEST(terminated_strings, ignores_text_without_a_nul) {
  EXPECT_TRUE(terminated_strings("").empty());
  EXPECT_TRUE(terminated_strings("abc").empty());
  EXPECT_EQ(terminated_strings("a\0\0bc\0d"s), (std::vector<std::string_view>{"a", "", "bc"}));
}

TEST(lenient_number, reads_like_atoi) {
  EXPECT_EQ(lenient_number("17"), 17U);
  EXPECT_EQ(lenient_number("17x"), 17U);
  EXPECT_EQ(lenient_number("x"), 0U);
  EXPECT_EQ(lenient_number(""), 0U);
  EXPECT_EQ(lenient_number("-1"), 4294967295U);
}

std::vector<std::byte> three_requests() {
  auto bytes = encode(xs_type::read, "/a\0"s, 1, 0);
  const auto second = encode(xs_type::transaction_start, "", 2, 0);
  const auto third = encode(xs_type::write, "/a\0value"s, 3, 9);
  bytes.insert(bytes.end(), second.begin(), second.end());
  bytes.insert(bytes.end(), third.begin(), third.end());
  return bytes;
}

class store_request_reader_chunks : public ::testing::TestWithParam<std::size_t> {};

TEST_P(store_request_reader_chunks, do_not_affect_requests) {
  const auto bytes = three_requests();
  store_request_reader reader;
  std::vector<store_request> requests;
  for (std::size_t at = 0; at < bytes.size(); at += GetParam()) {
    reader.append(std::span(bytes).subspan(at, std::min(GetParam(), bytes.size() - at)));
    while (auto request = reader.next())
      requests.push_back(std::move(*request));
  }
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_EQ(requests[0].payload, "/a\0"s);
  EXPECT_EQ(requests[1].header.type, xs_type::transaction_start);
  EXPECT_EQ(requests[1].payload, "");
  EXPECT_EQ(requests[2].header.tx_id, 9U);
  EXPECT_EQ(requests[2].payload, "/a\0value"s);
  EXPECT_FALSE(reader.is_broken());
}

INSTANTIATE_TEST_SUITE_P(sizes, store_request_reader_chunks,
                         ::testing::Values(1, 2, 3, 7, 15, 16, 17, 19, 40, 1000));

TEST(store_request_reader, accepts_the_longest_payload) {
  store_request_reader reader;
  reader.append(encode(xs_type::write, std::string(4096, 'x'), 1, 0));
  const auto request = reader.next();
  ASSERT_TRUE(request);
  EXPECT_EQ(request->payload.size(), 4096U);
}

TEST(store_request_reader, breaks_on_the_header_of_an_oversized_payload) {
  store_request_reader reader;
  const auto bytes = encode(xs_type::write, std::string(4097, 'x'), 1, 0);
  reader.append(std::span(bytes).first(15));
  EXPECT_FALSE(reader.next());
  EXPECT_FALSE(reader.is_broken());
  reader.append(std::span(bytes).subspan(15, 1));
  EXPECT_FALSE(reader.next());
  EXPECT_TRUE(reader.is_broken());
}

TEST(store_request_reader, stays_broken) {
  store_request_reader reader;
  reader.append(encode(xs_type::write, std::string(4097, 'x'), 1, 0));
  EXPECT_FALSE(reader.next());
  reader.append(encode(xs_type::read, "/\0"s, 2, 0));
  EXPECT_FALSE(reader.next());
  EXPECT_TRUE(reader.is_broken());
}

}  // namespace
}  // namespace xenpv::sim
