#include "cli/exit_code.hpp"

#include "xenpv/base/error.hpp"

namespace xenpv::cli {

exit_code to_exit_code(const std::error_code& code) noexcept {
  if (code == make_error_code(errc::not_available)) return exit_code::not_possible;
  // A /dev/xen node is missing: this is not a Xen guest, or a kernel module is not loaded.
  if (code == std::errc::no_such_device) return exit_code::not_possible;
  if (code == make_error_code(errc::invalid_argument)) return exit_code::usage;
  return exit_code::failed;
}

}  // namespace xenpv::cli
