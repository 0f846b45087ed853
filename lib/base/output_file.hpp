// Writes the files that users name on the command line: pages, pictures, metrics, archives. It does
// not keep state files, and does not create directories.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

namespace xenpv {

/// The permissions of a new file.
enum class output_access {
  by_umask,  ///< as for any new file; an existing file keeps its permissions
  everyone,  ///< mode 0644: for metrics, which another user's collector reads
};

/// Returns true if `path` stands for stdout: "-".
[[nodiscard]] bool is_standard_output(std::string_view path) noexcept;

/// Writes `content` to `path`; "-" is `standard_output`, which the caller flushes and checks. A
/// regular file is replaced atomically (a temporary file beside it, then rename(2)), so that
/// readers never see a part of it; a hard link to it keeps the old content. Anything else, such as
/// a device, a FIFO or a symbolic link, stays and is written to; a FIFO without a reader blocks.
/// Without permission to create a file beside it, a regular file is overwritten in place. On error,
/// throws `failure`; a file that would have been replaced is unchanged.
void write_output(const std::string& path, std::string_view content, output_access access,
                  std::ostream& standard_output);

}  // namespace xenpv
