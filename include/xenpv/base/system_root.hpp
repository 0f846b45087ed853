// The root of the tree that contains /dev/xen, /proc and /sys. Normally "/"; the environment
// variable XENPV_ROOT can select another tree (files captured on another machine, or a simulated
// guest). Redirects only file look-ups: the Xen libraries always open the real devices.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace xenpv {

class system_root {
 public:
  /// The tree selected by XENPV_ROOT, or "/".
  [[nodiscard]] static system_root from_environment();
  /// The tree below the directory `top`.
  explicit system_root(std::filesystem::path top) : top_(std::move(top)) {}

  /// Returns the path within this tree for the absolute path `absolute` ("/sys/hypervisor/type").
  [[nodiscard]] std::filesystem::path path(std::string_view absolute) const;
  /// True if a file or directory exists, after following symbolic links; false if that cannot be
  /// determined.
  [[nodiscard]] bool exists(std::string_view absolute) const;
  /// Returns the whole file without its trailing newline; nullopt if it does not exist or cannot be
  /// read. Throws `failure` (errc::limit_reached) for a file of more than 64 MiB in a tree other
  /// than "/".
  [[nodiscard]] std::optional<std::string> read(std::string_view absolute) const;
  /// Returns the sorted entry names of a directory; empty if it cannot be read. Entries that vanish
  /// during the scan may be missing.
  [[nodiscard]] std::vector<std::string> names(std::string_view absolute) const;
  /// True if the tree is "/": this machine's own devices and files.
  [[nodiscard]] bool is_real() const noexcept { return top_ == "/"; }

 private:
  std::filesystem::path top_;
};

}  // namespace xenpv
