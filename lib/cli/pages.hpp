// Text generated from the definitions: --help, the manual page, and word lists for completion.
#pragma once

#include <span>
#include <string>

#include "cli/app.hpp"
#include "cli/command_spec.hpp"

namespace xenpv::cli {

/// Returns the --help text, 80 columns wide, for the last command in `path` (root first).
[[nodiscard]] std::string help_page(std::span<const command_spec* const> path);

/// Returns a section 1 manual page for the whole program, in roff (man macros). It does not contain
/// a date, so that builds are reproducible.
[[nodiscard]] std::string manual_page(const command_spec& root, const exit_statuses& statuses,
                                      std::string_view version);

enum class word_list { long_options, short_options, commands };
/// Returns the words that may follow the last command in `path`, one per line.
[[nodiscard]] std::string words_page(std::span<const command_spec* const> path, word_list list);

}  // namespace xenpv::cli
