// Text generated from the definitions: --help, the manual page, and word lists for completion.
#pragma once

#include <span>
#include <string>

#include "cli/app.hpp"
#include "cli/command_spec.hpp"

namespace xenpv::cli {

/// The --help text of the last command of `path` (root first), 80 columns wide.
[[nodiscard]] std::string help_page(std::span<const command_spec* const> path);

/// A manual page of section 1 in roff (man macros) for the whole program. Contains no date, so that
/// builds are reproducible.
[[nodiscard]] std::string manual_page(const command_spec& root, const exit_statuses& statuses,
                                      std::string_view version);

enum class word_list { long_options, short_options, commands };
/// The words that may follow the last command of `path`, one per line.
[[nodiscard]] std::string words_page(std::span<const command_spec* const> path, word_list list);

}  // namespace xenpv::cli
