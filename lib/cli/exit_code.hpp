// The exit statuses of all xenpv programs, and the mapping of errors to them. Does not print
// anything.
#pragma once

#include <system_error>

namespace xenpv::cli {

/// A program that runs another command returns that command's exit status, cast to this type.
enum class exit_code : int {
  ok = 0,
  failed = 1,         ///< the operation failed
  usage = 2,          ///< invalid command line; nothing was done
  not_possible = 77,  ///< a requirement is missing on this machine ("skipped" for test harnesses)
};

/// Maps errc::not_available and ENODEV to not_possible, errc::invalid_argument to usage, and any
/// other error to failed.
[[nodiscard]] exit_code to_exit_code(const std::error_code& code) noexcept;

}  // namespace xenpv::cli
