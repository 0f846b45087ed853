// Shell completion: the words that may follow on a command line, from the same definitions as
// parsing and --help. The scripts in packaging/completions run `PROGRAM --complete WORD...` and
// pass the result to their shell. Pure, except for the sources of values, which the program adds.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command_spec.hpp"

namespace xenpv::cli {

struct completion_word {
  std::string word;
  std::string description = {};  ///< a phrase for shells that show it; may be empty
};

/// Lists the values that currently exist, such as the disks of this guest. Should return quickly
/// and may throw; either way, a failure only means that nothing is offered.
using completion_source = std::function<std::vector<completion_word>()>;

/// Sources by the VALUE in the definition of an option or argument, such as "DISK". FILE, PATH and
/// DIR do not need one: the shell completes files and directories.
using completion_sources = std::map<std::string, completion_source, std::less<>>;

/// The option, not listed in --help, that asks for completion. It must come first; then follow the
/// words after the program's name, the last of which (may be empty) is to be completed.
inline constexpr std::string_view complete_option = "--complete";

/// Returns one line for the shell: "words" (the following lines, each "WORD" or
/// "WORD<tab>DESCRIPTION"), "files", "directories", or "command" (the command line of another
/// program, after "--"). Only words that start with the last of `words` are listed, without those
/// that a shell would have to quote.
[[nodiscard]] std::string completion_page(const command_spec& root,
                                          const completion_sources& sources,
                                          std::span<const std::string> words);

}  // namespace xenpv::cli
