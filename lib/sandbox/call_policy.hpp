// The list of system calls that a process needs, by name and argument. A plain value: call_filter
// installs it.
//
// Conditions compare the 32 bits that the kernel uses of an int argument. A filter cannot see
// behind pointers, so paths and addresses are left to file permissions and to Landlock.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace xenpv::sandbox {

/// Holds if (argument & mask) == value.
struct argument_condition {
  unsigned argument = 0;  ///< index, from 0
  std::uint64_t mask = ~std::uint64_t{0};
  std::uint64_t value = 0;
};

/// Holds if an int argument has this value.
[[nodiscard]] constexpr argument_condition argument_is(unsigned argument, std::uint32_t value) {
  return {argument, 0xffff'ffff, value};
}

/// Holds if the argument has none of these bits.
[[nodiscard]] constexpr argument_condition argument_lacks(unsigned argument, std::uint64_t bits) {
  return {argument, bits, 0};
}

class call_policy {
 public:
  /// A call, with conditions that must all hold. Several rules for a call are alternatives.
  struct rule {
    std::string call;
    std::vector<argument_condition> conditions;
    int error = 0;  ///< 0: the call is allowed; otherwise it fails silently with this errno
  };

  /// Allow calls by name: always, or if all conditions hold. A call that this architecture lacks
  /// ("open" on ARM64) has no effect.
  /// @{
  call_policy& allow(std::string_view call, std::vector<argument_condition> conditions = {});
  call_policy& allow_all(std::initializer_list<std::string_view> calls);
  /// @}
  /// Makes a call fail with `error` without a log message, always or if all conditions hold. Use it
  /// for calls for which the C library has a fallback (ENOSYS), and for calls that it makes while
  /// it blocks all signals (see call_filter.hpp). The conditions must exclude the conditions of
  /// allow().
  call_policy& fail(std::string_view call, int error,
                    std::vector<argument_condition> conditions = {});
  /// Adds the rules of another policy.
  call_policy& add(const call_policy& other);

  /// Allows ioctl(2) with this request.
  call_policy& allow_ioctl(unsigned long request);
  /// Allows socket(2) and socketpair(2) with this address family.
  call_policy& allow_socket(int family);
  /// Allows prctl(2) with this option.
  call_policy& allow_prctl(int option);

  [[nodiscard]] const std::vector<rule>& rules() const noexcept { return rules_; }

 private:
  std::vector<rule> rules_;
};

/// The calls that every process of this project needs: memory that is never executable, time,
/// signals to itself, locks, its own scheduling, exit. Gives no access to files, sockets or other
/// processes. Includes the calls that glibc and libstdc++ make internally. Contains the process ID,
/// so it applies to the calling process only.
[[nodiscard]] call_policy runtime_calls();

/// Starting threads, but no processes and no namespaces: these fail with EPERM and are not logged.
/// clone3(2), whose flags a filter cannot see, fails with ENOSYS; the C library then uses clone(2).
[[nodiscard]] call_policy thread_calls();

/// Reading, writing, inspecting, locking, duplicating and closing open descriptors; pipes. Permits
/// only the commands of fcntl(2) that this requires, but none that sends signals to other
/// processes.
[[nodiscard]] call_policy descriptor_calls();

/// Waiting for descriptors: epoll, poll, select, eventfd, timerfd, signalfd.
[[nodiscard]] call_policy waiting_calls();

/// Using existing sockets: accept, send, receive, options, shutdown. Not socket, bind, connect.
[[nodiscard]] call_policy socket_calls();

/// Opening and inspecting existing files by path, within file permissions and Landlock. Can create
/// files if these permit it.
[[nodiscard]] call_policy open_calls();

/// Renaming, truncating and removing files and directories, and changing modes and owners.
[[nodiscard]] call_policy change_file_calls();

}  // namespace xenpv::sandbox
