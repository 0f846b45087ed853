// Text generated from the definitions: --help and the manual page. completion.hpp generates the
// text for shells, version.hpp the one for --version.
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

}  // namespace xenpv::cli
