// A system call outside the policy, as the filter's signal handler or the kernel reports it, and
// the log messages about it. Pure: neither the filter nor the log is involved.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace xenpv::sandbox {

/// Written to a pipe at once, so it must be no larger than PIPE_BUF.
struct denied_call {
  std::int32_t number = 0;
  pid_t thread = 0;
  std::array<char, 16> thread_name{};  ///< ends at the first 0; empty if not known
  std::array<std::uint64_t, 3> arguments{};
};
static_assert(sizeof(denied_call) == 48);

/// Decides which denied calls are logged: each call once and, for calls that multiplex, each
/// request once, up to a limit. Not thread-safe.
class denial_log {
 public:
  /// `is_refused`: false in mode `log`.
  explicit denial_log(bool is_refused) noexcept : is_refused_(is_refused) {}

  /// Returns the message to log; nullopt if the call has been logged. `name` is empty for a call
  /// that libseccomp does not know.
  [[nodiscard]] std::optional<std::string> add(const denied_call& call, std::string_view name);

 private:
  bool is_refused_;
  std::map<std::int32_t, std::set<std::uint32_t>> logged_;  ///< requests by call
};

}  // namespace xenpv::sandbox
