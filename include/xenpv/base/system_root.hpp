// Where /dev/xen, /proc and /sys are looked for. Normally "/"; the environment variable XENPV_ROOT
// names another tree (a capture of somebody else's machine, or a simulated guest's).
// Only looking is redirected: devices are always opened by Xen's own libraries.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace xenpv {

class system_root {
 public:
  /// The tree XENPV_ROOT names, or "/".
  [[nodiscard]] static system_root from_environment();
  explicit system_root(std::filesystem::path top) : top_(std::move(top)) {}

  /// `absolute` ("/sys/hypervisor/type") inside this tree.
  [[nodiscard]] std::filesystem::path path(std::string_view absolute) const;
  [[nodiscard]] bool exists(std::string_view absolute) const;
  /// The whole file without its trailing newline; nullopt when it does not exist or cannot be read.
  [[nodiscard]] std::optional<std::string> read(std::string_view absolute) const;
  /// Names of what a folder holds, sorted; empty for one that cannot be read. What goes away while
  /// one looks was not there.
  [[nodiscard]] std::vector<std::string> names(std::string_view absolute) const;
  [[nodiscard]] bool is_real() const noexcept { return top_ == "/"; }

 private:
  std::filesystem::path top_;
};

}  // namespace xenpv
