// Atomically replaces files that other programs may read at any time.
#pragma once

#include <string>
#include <string_view>

namespace xenpv::doctor_app {

/// Writes a temporary file in the same directory and renames it to `path`. Only the umask restricts
/// the file permissions, because the reader may be another user. On error, throws `failure` and
/// leaves the old file unchanged.
void replace_file(const std::string& path, std::string_view content);

}  // namespace xenpv::doctor_app
