#include "nbd/codec_export.hpp"

#include <gmock/gmock.h>

#include <functional>

#include "full_export.hpp"

namespace xenpv::nbd {
namespace {

TEST(transmission_flags, have_a_bit_for_each_feature_of_an_export) {
  EXPECT_EQ(transmission_flags({}, false), 0x0001);
  struct example {
    bool export_info::*feature;
    unsigned flags;
  };
  const example all[] = {
      {&export_info::read_only, 0x0003},        {&export_info::can_flush, 0x0005},
      {&export_info::rotational, 0x0011},       {&export_info::can_trim, 0x0021},
      {&export_info::can_write_zeroes, 0x0041}, {&export_info::can_multi_conn, 0x0101}};
  for (const auto& [feature, flags] : all) {
    export_info one;
    one.*feature = true;
    EXPECT_EQ(transmission_flags(one, false), flags);
    EXPECT_EQ(transmission_flags(one, true), flags | 0x0080U);
  }
}

TEST(transmission_flags, offer_no_fua_without_flush) {
  export_info out;
  out.can_fua = true;
  EXPECT_EQ(transmission_flags(out, false), 0x0001);
  out.can_flush = true;
  EXPECT_EQ(transmission_flags(out, false), 0x000d);
}

TEST(transmission_flags, offer_no_fast_zeroes_without_zeroes) {
  export_info out;
  out.can_fast_zero = out.zeroes_are_fast = true;
  EXPECT_EQ(transmission_flags(out, false), 0x0001);
  out.can_write_zeroes = true;
  EXPECT_EQ(transmission_flags(out, false), 0x0841);
}

TEST(transmission_flags, omit_write_features_if_the_export_is_read_only) {
  auto out = test::full_export(0);
  out.read_only = true;
  EXPECT_EQ(transmission_flags(out, true), 0x018f);
}

std::string fault_of(const std::function<void(export_info&)>& change) {
  export_info out;
  out.name = "disk";
  out.size = 65536 * 4;
  change(out);
  const auto answer = validate(out);
  return answer ? "" : answer.error().text;
}

TEST(validate, accepts_exports_that_the_protocol_allows) {
  EXPECT_EQ(fault_of([](auto&) {}), "");
  EXPECT_EQ(fault_of([](auto& e) { e.name.clear(); }), "");
  EXPECT_EQ(fault_of([](auto& e) { e.name.assign(1023, 'x'); }), "");
  EXPECT_EQ(fault_of([](auto& e) { e.minimum_block = 65536, e.preferred_block = 65536; }), "");
  EXPECT_EQ(fault_of([](auto& e) { e.minimum_block = 512, e.maximum_block = 0xFFFFFFFF; }), "");
}

TEST(validate, names_the_invalid_property) {
  const std::string head = "offer export 'disk': ";
  const auto preferred =
      head + "the preferred block size is not a power of two, or less than 512 or the minimum";
  const auto minimum = head + "the minimum block size is not a power of two up to 65536";
  EXPECT_EQ(fault_of([](auto& e) { e.minimum_block = 0; }), minimum);
  EXPECT_EQ(fault_of([](auto& e) { e.minimum_block = 768; }), minimum);
  EXPECT_EQ(fault_of([](auto& e) { e.minimum_block = 131072; }), minimum);
  EXPECT_EQ(fault_of([](auto& e) { e.preferred_block = 256; }), preferred);
  EXPECT_EQ(fault_of([](auto& e) { e.preferred_block = 5000; }), preferred);
  EXPECT_EQ(fault_of([](auto& e) { e.minimum_block = 8192; }), preferred);
  EXPECT_EQ(fault_of([](auto& e) { e.maximum_block = 512; }),
            head + "the maximum block size is smaller than the preferred one");
  EXPECT_EQ(fault_of([](auto& e) { e.minimum_block = 512, e.maximum_block = 4097; }),
            head + "the maximum block size is not a multiple of the minimum");
  EXPECT_EQ(fault_of([](auto& e) { e.minimum_block = 512, e.size = 1025; }),
            head + "the size is not a multiple of the minimum block size");
  EXPECT_EQ(fault_of([](auto& e) { e.description.assign(1024, 'x'); }),
            head + "its description is longer than 1023 bytes");
  EXPECT_EQ(fault_of([](auto& e) { e.description = "\xff"; }),
            head + "its description is not UTF-8 or contains a NUL");
  EXPECT_EQ(fault_of([](auto& e) { e.name = std::string("a\0b", 3); }),
            "offer export 'a?b': its name is not UTF-8 or contains a NUL");
  EXPECT_EQ(fault_of([](auto& e) { e.name.assign(1024, 'x'); }),
            "offer export '" + std::string(1023, 'x') + "': its name is longer than 1023 bytes");
}

}  // namespace
}  // namespace xenpv::nbd
