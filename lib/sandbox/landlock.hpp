// Confines this process to parts of the file system (Landlock, Linux 5.13). File permissions still
// apply. Open descriptors keep their rights, and connecting to a Unix socket by path is not
// restricted.
//
// Stateless. Uses the system calls directly: Debian has no library for them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace xenpv::sandbox {

/// Rights to the files below a path; combined with |.
enum class file_rights : unsigned {
  none = 0,
  read = 1,     ///< read files and list directories
  write = 2,    ///< write to existing files
  create = 4,   ///< create and remove files, sockets and directories; rename them within a rule
  execute = 8,  ///< execute files
};

[[nodiscard]] constexpr file_rights operator|(file_rights a, file_rights b) noexcept {
  return static_cast<file_rights>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
[[nodiscard]] constexpr bool has(file_rights rights, file_rights right) noexcept {
  return (static_cast<unsigned>(rights) & static_cast<unsigned>(right)) != 0;
}

/// Permits access to a file, or to a directory and everything below it. A path is skipped if it
/// does not exist or cannot be reached when the rules are applied.
struct path_rule {
  std::filesystem::path path;
  file_rights rights = file_rights::read;
};

/// Whether new TCP connections and listeners are permitted (Linux 6.7).
enum class tcp_rights { unrestricted, none };

/// The reason why Landlock is not applied.
enum class landlock_state {
  applied,
  not_supported,  ///< the kernel is older than 5.13 or was built without it
  disabled,       ///< missing from the kernel parameter lsm=
};

struct landlock_result {
  landlock_state state = landlock_state::not_supported;
  int abi = 0;                       ///< the kernel's version of the interface; 0 if not applied
  unsigned paths = 0;                ///< in force
  bool restricts_tcp = false;        ///< false also if not requested
  std::vector<std::string> skipped;  ///< paths that do not exist or cannot be reached
};

/// Returns one line for a log: "Landlock version 3: 5 paths", or the reason why it is not applied.
[[nodiscard]] std::string describe(const landlock_result& result);

/// Restricts every thread of this process, and the programs it starts, to `rules`. Applied several
/// times, the restrictions add up. Sets no_new_privs. Never fails because the kernel lacks
/// Landlock. Throws `failure`.
landlock_result restrict_files(const std::vector<path_rule>& rules,
                               tcp_rights tcp = tcp_rights::unrestricted);

}  // namespace xenpv::sandbox
