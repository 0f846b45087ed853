#include "sandbox/landlock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "sandbox/every_thread.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sandbox {
namespace {

// Newer than the header of Debian 12.
constexpr std::uint64_t access_truncate = 1 << 14;   // version 3
constexpr std::uint64_t access_ioctl_dev = 1 << 15;  // version 5
constexpr std::uint64_t net_bind_tcp = 1 << 0;       // version 4
constexpr std::uint64_t net_connect_tcp = 1 << 1;

/// landlock_ruleset_attr of version 4. Older kernels accept it if the unknown field is 0.
struct ruleset_attributes {
  std::uint64_t handled_access_fs = 0;
  std::uint64_t handled_access_net = 0;
};
static_assert(sizeof(ruleset_attributes) == 16);

constexpr std::uint64_t read_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t write_access =
    LANDLOCK_ACCESS_FS_WRITE_FILE | access_truncate | access_ioctl_dev;
constexpr std::uint64_t create_access =
    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_DIR |
    LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REMOVE_FILE |
    LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REFER;
/// The access rights that a rule for a file may contain.
constexpr std::uint64_t file_access =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE | write_access;

/// Everything that the kernel's version of the interface can restrict.
std::uint64_t known_access(int abi) noexcept {
  std::uint64_t out = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
  if (abi >= 2) out |= LANDLOCK_ACCESS_FS_REFER;
  if (abi >= 3) out |= access_truncate;
  if (abi >= 5) out |= access_ioctl_dev;
  return out;
}

std::uint64_t access_of(file_rights rights) noexcept {
  std::uint64_t out = 0;
  if (has(rights, file_rights::read)) out |= read_access;
  if (has(rights, file_rights::write)) out |= write_access;
  if (has(rights, file_rights::create)) out |= create_access;
  if (has(rights, file_rights::execute)) out |= LANDLOCK_ACCESS_FS_EXECUTE;
  return out;
}

/// Returns false if the path does not exist, or if this process cannot reach it anyway.
bool add_rule(int ruleset, const path_rule& rule, std::uint64_t known) {
  const auto operation = fmt::format("restrict file access to {}", rule.path.string());
  const unique_fd file(::open(rule.path.c_str(), O_PATH | O_CLOEXEC));
  if (!file) {
    if (errno == ENOENT || errno == ENOTDIR || errno == EACCES) return false;
    throw_errno(operation);
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw_errno(operation);
  landlock_path_beneath_attr beneath{};
  beneath.allowed_access = access_of(rule.rights) & known;
  if (!S_ISDIR(status.st_mode)) beneath.allowed_access &= file_access;
  if (beneath.allowed_access == 0) return true;
  beneath.parent_fd = file.get();
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0U) != 0)
    throw_errno(operation);
  return true;
}

int restrict_thread(const void* argument) noexcept {
  const int ruleset = *static_cast<const int*>(argument);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  return ::syscall(SYS_landlock_restrict_self, ruleset, 0U) == 0 ? 0 : errno;
}

}  // namespace

std::string describe(const landlock_result& result) {
  switch (result.state) {
    case landlock_state::not_supported:
      return "Landlock is not supported by this kernel";
    case landlock_state::disabled:
      return "Landlock is disabled (kernel parameter lsm=)";
    case landlock_state::applied:
      break;
  }
  return fmt::format("Landlock version {}: {} path{}{}", result.abi, result.paths,
                     result.paths == 1 ? "" : "s",
                     result.restricts_tcp ? ", no new TCP connections" : "");
}

landlock_result restrict_files(const std::vector<path_rule>& rules, tcp_rights tcp) {
  landlock_result out;
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, std::size_t{0},
                             LANDLOCK_CREATE_RULESET_VERSION);
  if (abi < 1) {
    out.state = errno == EOPNOTSUPP ? landlock_state::disabled : landlock_state::not_supported;
    return out;
  }
  out.abi = static_cast<int>(abi);
  ruleset_attributes attributes;
  attributes.handled_access_fs = known_access(out.abi);
  out.restricts_tcp = tcp == tcp_rights::none && out.abi >= 4;
  if (out.restricts_tcp) attributes.handled_access_net = net_bind_tcp | net_connect_tcp;
  const unique_fd ruleset(
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0U)));
  if (!ruleset) throw_errno("create a Landlock ruleset");
  for (const auto& rule : rules) {
    if (add_rule(ruleset.get(), rule, attributes.handled_access_fs))
      ++out.paths;
    else
      out.skipped.push_back(rule.path.string());
  }
  const int descriptor = ruleset.get();
  run_on_every_thread(restrict_thread, &descriptor, "restrict file access");
  out.state = landlock_state::applied;
  return out;
}

}  // namespace xenpv::sandbox
