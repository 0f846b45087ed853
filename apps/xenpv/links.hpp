// Creates links to the multi-call program, so that its applets can be called like separate
// programs. Blocking. The caller supplies the names of the applets.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

namespace xenpv::multi_call {

/// Creates a symbolic link to `program`, an absolute path, for each name in `directory`, which must
/// exist. The links are relative if the program is in the same directory. Keeps links that exist.
/// Throws failure if a name is in use for another file; the links before it have been created.
void install_links(const std::filesystem::path& directory, const std::filesystem::path& program,
                   std::span<const std::string_view> names);

}  // namespace xenpv::multi_call
