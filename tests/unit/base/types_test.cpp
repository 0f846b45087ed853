#include "xenpv/base/types.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <type_traits>

namespace xenpv {
namespace {

TEST(types, print_as_plain_numbers) {
  EXPECT_EQ(fmt::format("{} {} {} {}", domid{5}, port{17}, grant_ref{8}, sector{1ULL << 40}),
            "5 17 8 1099511627776");
}

TEST(types, have_the_widths_of_the_hypervisor_types) {
  static_assert(std::is_same_v<decltype(raw(domid{})), std::uint16_t>);
  static_assert(std::is_same_v<decltype(raw(port{})), std::uint32_t>);
  static_assert(std::is_same_v<decltype(raw(grant_ref{})), std::uint32_t>);
  static_assert(std::is_same_v<decltype(raw(sector{})), std::uint64_t>);
  static_assert(!std::is_convertible_v<domid, unsigned> && !std::is_convertible_v<port, unsigned>);
  EXPECT_EQ(raw(domid_self), 0x7FF0);
  EXPECT_EQ(raw(domid_0), 0);
}

}  // namespace
}  // namespace xenpv
