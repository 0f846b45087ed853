// Quotes text for a POSIX shell, for commands that are printed for the user to copy. Does not run
// anything.
#pragma once

#include <string>
#include <string_view>

namespace xenpv {

/// Returns `text` as one word of a shell command: unchanged if it needs no quotes, otherwise in
/// single quotes. Text that is not printable (see printable()) is written as $'...', which bash,
/// zsh, ksh and POSIX.1-2024 understand: no byte of it reaches the terminal.
[[nodiscard]] std::string shell_quote(std::string_view text);

}  // namespace xenpv
