// Commands that are printed for the user keep their meaning in a shell, regardless of the text.
#include "base/shell_quote.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <memory>

#include "base/utf8.hpp"

namespace xenpv {
namespace {

TEST(shell_quote, leaves_simple_words_alone) {
  for (const std::string text : {"xvdb", "/run/xenpv/xvdb.sock", "127.0.0.1:10809", "a=b,c+d@e%f"})
    EXPECT_EQ(shell_quote(text), text);
}

TEST(shell_quote, quotes_what_a_shell_would_interpret) {
  EXPECT_EQ(shell_quote(""), "''");
  EXPECT_EQ(shell_quote("my disk"), "'my disk'");
  EXPECT_EQ(shell_quote("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_quote("x;curl evil"), "'x;curl evil'");
  EXPECT_EQ(shell_quote("$(id)`id`"), "'$(id)`id`'");
  EXPECT_EQ(shell_quote("~root"), "'~root'");
}

TEST(shell_quote, writes_invisible_bytes_as_escapes) {
  EXPECT_EQ(shell_quote("a\nb"), "$'a\\012b'");
  EXPECT_EQ(shell_quote("\x1B'\\\xFF"
                        "7"),
            "$'\\033\\'\\\\\\3777'");
  const auto quoted = shell_quote("\xE2\x80\xAEgpj.exe\xC2\x9B");
  EXPECT_EQ(printable(quoted), quoted);
}

TEST(shell_quote, is_undone_by_a_shell) {
  for (const std::string text :
       {"", "my disk", "it's", "'", "''", "\\", "$HOME", "a\nb", "!x", "*", "-n", "\xFF",
        "tab\t'\\", "größer", "\xE2\x80\xAE", "x;curl evil|sh", "#no", "{a,b}", "\x01\x7F"}) {
    const auto command = "bash -c 'printf %s \"$1\"' bash " + shell_quote(text);
    // The outer shell must know $'...', too.
    const auto script = "bash <<'END_OF_SCRIPT'\n" + command + "\nEND_OF_SCRIPT\n";
    const std::unique_ptr<FILE, int (*)(FILE*)> shell(::popen(script.c_str(), "r"), ::pclose);
    ASSERT_NE(shell, nullptr);
    std::array<char, 256> bytes{};
    const auto size = std::fread(bytes.data(), 1, bytes.size(), shell.get());
    EXPECT_EQ(std::string(bytes.data(), size), text) << command;
  }
}

}  // namespace
}  // namespace xenpv
