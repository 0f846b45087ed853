#include "xenpv/wire/xenbus.hpp"

#include <gtest/gtest.h>
#include <xen/io/xenbus.h>

#include <string>

namespace xenpv::wire {
namespace {

struct known {
  xenbus_state ours;
  ::xenbus_state xens;
  const char* name;
  const char* node;
};
constexpr known states[] = {
    {xenbus_state::unknown, XenbusStateUnknown, "Unknown", "0"},
    {xenbus_state::initialising, XenbusStateInitialising, "Initialising", "1"},
    {xenbus_state::init_wait, XenbusStateInitWait, "InitWait", "2"},
    {xenbus_state::initialised, XenbusStateInitialised, "Initialised", "3"},
    {xenbus_state::connected, XenbusStateConnected, "Connected", "4"},
    {xenbus_state::closing, XenbusStateClosing, "Closing", "5"},
    {xenbus_state::closed, XenbusStateClosed, "Closed", "6"},
    {xenbus_state::reconfiguring, XenbusStateReconfiguring, "Reconfiguring", "7"},
    {xenbus_state::reconfigured, XenbusStateReconfigured, "Reconfigured", "8"},
};

TEST(xenbus_state, has_the_numbers_and_names_of_xen) {
  for (const auto& [ours, xens, name, node] : states) {
    EXPECT_EQ(static_cast<int>(ours), static_cast<int>(xens)) << name;
    EXPECT_EQ(to_string(ours), name);
    EXPECT_EQ(parse_xenbus_state(node), ours);
  }
  EXPECT_EQ(to_string(xenbus_state{9}), "invalid");
}

TEST(xenbus_state, is_unset_for_any_other_value) {
  for (const auto* text : {"", "9", "-1", "44", "04", " 4", "4 ", "4\n", "x", "Connected"})
    EXPECT_EQ(parse_xenbus_state(text), std::nullopt) << '\'' << text << '\'';
  EXPECT_EQ(parse_xenbus_state(std::string_view("4\0", 2)), std::nullopt);
}

}  // namespace
}  // namespace xenpv::wire
