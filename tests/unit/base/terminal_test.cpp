#include "base/terminal.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv {
namespace {

std::size_t columns_with(const char* value) {
  const char* const old = std::getenv("COLUMNS");
  const std::string before = old == nullptr ? "" : old;
  ::setenv("COLUMNS", value, 1);
  const unique_fd file(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  const auto out = text_columns(file.get());
  if (old == nullptr)
    ::unsetenv("COLUMNS");
  else
    ::setenv("COLUMNS", before.c_str(), 1);
  return out;
}

TEST(text_columns, follow_the_environment_without_a_terminal) {
  EXPECT_EQ(columns_with("132"), 132U);
}

TEST(text_columns, are_80_without_a_valid_number) {
  for (const auto* value : {"", "0", "wide", "-5", "80x"})
    EXPECT_EQ(columns_with(value), 80U) << value;
}

}  // namespace
}  // namespace xenpv
