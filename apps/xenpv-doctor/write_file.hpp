// Atomic replacement of files that other programs may read at any time.
#pragma once

#include <string>
#include <string_view>

namespace xenpv::doctor_app {

/// Writes a temporary file beside it and renames that. Only the umask limits who may read the file,
/// as the reader may be another user. On an error, throws `failure` and leaves the old file.
void replace_file(const std::string& path, std::string_view content);

}  // namespace xenpv::doctor_app
