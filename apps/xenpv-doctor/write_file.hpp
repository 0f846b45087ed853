// Files that others read at any time: whole or not at all.
#pragma once

#include <string>
#include <string_view>

namespace xenpv::doctor_app {

/// Writes beside it and renames. The reader may be another user, so the file is readable by all
/// that the umask allows. Throws `failure` and leaves what was there.
void replace_file(const std::string& path, std::string_view content);

}  // namespace xenpv::doctor_app
