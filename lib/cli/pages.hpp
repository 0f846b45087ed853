// The three faces of the same definitions: --help, the manual page, and word lists for completion.
#pragma once

#include <span>
#include <string>

#include "cli/command_spec.hpp"
#include "xenpv/cli/app.hpp"

namespace xenpv::cli {

/// The --help text of the last command of `path` (root first), 80 columns wide.
[[nodiscard]] std::string help_page(std::span<const command_spec* const> path);

/// A manual page of section 1 in roff (man macros) for the whole program. Carries no date, so that
/// the same source gives the same page.
[[nodiscard]] std::string manual_page(const command_spec& root, const exit_statuses& statuses,
                                      std::string_view version);

enum class word_list { long_options, short_options, commands };
/// One word a line: what may follow the last command of `path`.
[[nodiscard]] std::string words_page(std::span<const command_spec* const> path, word_list list);

}  // namespace xenpv::cli
