// The privileges of this process: user, groups, capabilities, no_new_privs and core dumps. Each
// function verifies its effect, because a privilege that silently remains is worse than an error.
//
// Stateless. Does not decide which privileges a program needs, and does not open anything for it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

namespace xenpv::sandbox {

/// A user of the system's user database, with all its groups.
struct user {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  ///< contains `gid`
};

/// Looks up a user by name. nullopt if there is none. Loads plug-ins (NSS), so call it before the
/// system-call filter is installed. Throws `failure` if the database cannot be read.
[[nodiscard]] std::optional<user> find_user(const std::string& name);

/// Looks up a group by name. nullopt if there is none. Throws as find_user() does.
[[nodiscard]] std::optional<gid_t> find_group(const std::string& name);

/// A set of capabilities: bit N stands for capability N of <linux/capability.h>.
class capability_set {
 public:
  constexpr capability_set() noexcept = default;
  /// The capabilities of these numbers (CAP_SYS_ADMIN, ...).
  constexpr capability_set(std::initializer_list<unsigned> numbers) noexcept {
    for (const auto number : numbers)
      bits_ |= std::uint64_t{1} << number;
  }
  /// The set with these bits.
  [[nodiscard]] static constexpr capability_set from_bits(std::uint64_t bits) noexcept {
    capability_set set;
    set.bits_ = bits;
    return set;
  }

  [[nodiscard]] constexpr std::uint64_t bits() const noexcept { return bits_; }
  [[nodiscard]] constexpr bool empty() const noexcept { return bits_ == 0; }
  [[nodiscard]] constexpr bool has(unsigned number) const noexcept {
    return (bits_ >> number & 1) != 0;
  }
  [[nodiscard]] friend constexpr bool operator==(capability_set, capability_set) noexcept = default;

 private:
  std::uint64_t bits_ = 0;
};

/// The privileges of one thread, from /proc.
struct thread_privileges {
  pid_t thread = 0;
  uid_t real_uid = 0;
  uid_t effective_uid = 0;
  uid_t saved_uid = 0;
  uid_t filesystem_uid = 0;
  gid_t real_gid = 0;
  gid_t effective_gid = 0;
  gid_t saved_gid = 0;
  gid_t filesystem_gid = 0;
  std::vector<gid_t> groups;
  capability_set inheritable;
  capability_set permitted;
  capability_set effective;
  capability_set bounding;
  capability_set ambient;
  bool no_new_privileges = false;
  unsigned seccomp_mode = 0;  ///< 2: filtered
};

/// Parses the text of /proc/PID/status. Throws `failure` (errc::protocol_violation) if a field is
/// missing or malformed.
[[nodiscard]] thread_privileges parse_status(const std::string& text);

/// Reads the privileges of all threads of this process. Throws `failure`.
[[nodiscard]] std::vector<thread_privileges> read_privileges();

/// The result of drop_privileges().
struct privilege_summary {
  uid_t uid = 0;
  capability_set effective;
  /// False if this process lacked CAP_SETPCAP. Then no_new_privs alone prevents that a program
  /// which this process executes gains capabilities.
  bool bounding_set_dropped = false;
};

/// Keeps the memory of this process secret: no core dumps (RLIMIT_CORE 0), and no access through
/// ptrace(2) and /proc/PID/mem for processes without CAP_SYS_PTRACE (PR_SET_DUMPABLE 0). As a side
/// effect, the files in /proc/self belong to root: after a change of the user, /proc/self/fd
/// cannot be listed and /proc/self/oom_score_adj cannot be written. Children inherit the limit;
/// execve(2) resets the rest. Throws `failure`.
void hide_memory();

/// Permanently drops the privileges of every thread of this process, and verifies the result:
/// 1. the bounding and ambient sets, except for `kept`,
/// 2. user and groups, if `identity` is given: real, effective and saved IDs,
/// 3. all capabilities, except for `kept`,
/// 4. no_new_privs.
/// Then it hides the memory again, because a change of the user may undo that.
///
/// Threads may run (see every_thread.hpp); new ones inherit the result. The calling process may be
/// unprivileged if `identity` is absent or its own user. `kept` needs `identity` to be absent: it
/// is for a helper that stays root. Throws `failure`; the process must then end, because it may
/// have dropped some of its privileges.
privilege_summary drop_privileges(const std::optional<user>& identity, capability_set kept = {});

/// For a program that keeps its user and remains readable: drops all capabilities of every thread
/// except `kept`, and sets no_new_privs. Unlike in drop_privileges(), a failure is only logged:
/// such a program parses less untrusted data, and must still do its work.
void limit_capabilities(capability_set kept) noexcept;

/// Throws `failure` (errc::protocol_violation) unless all threads have the user ID `uid`, no
/// capabilities except `kept`, and no_new_privs.
void verify_privileges(uid_t uid, capability_set kept = {});

}  // namespace xenpv::sandbox
