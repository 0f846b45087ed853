// The text of --version: the program, the commit and the compiler it was built from and with, and
// the libraries, for bug reports. Does not read any file except /proc.
#pragma once

#include <string>
#include <string_view>

namespace xenpv::cli {

/// Returns lines, of which the first is "PROGRAM VERSION". "loaded" lists the shared libraries of
/// this process, which may be newer than those it was built with; a static program has none.
[[nodiscard]] std::string version_page(std::string_view program);

}  // namespace xenpv::cli
