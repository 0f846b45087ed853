// The exit statuses every xenpv program uses, and which error leads to which. Prints nothing.
#pragma once

#include <system_error>

namespace xenpv::cli {

/// A program that runs somebody else's command passes that command's own status on, cast to this
/// type.
enum class exit_code : int {
  ok = 0,
  failed = 1,         ///< it was tried and did not work
  usage = 2,          ///< the command line is wrong; nothing was tried
  not_possible = 77,  ///< this machine lacks what is needed (the "skipped" of test harnesses)
};

/// errc::not_available is not_possible, errc::invalid_argument is usage, any other error is failed.
[[nodiscard]] exit_code to_exit_code(const std::error_code& code) noexcept;

}  // namespace xenpv::cli
