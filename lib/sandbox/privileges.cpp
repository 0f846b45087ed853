#include "sandbox/privileges.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>
#include <tuple>

#include "sandbox/every_thread.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::sandbox {
namespace {

constexpr const char* drop_operation = "drop the privileges";

/// Calls a reentrant function of the user database with a buffer that is large enough. Returns
/// false if there is no such entry.
template <class Entry, class Function>
bool look_up(Function function, const std::string& name, Entry& entry, std::vector<char>& buffer,
             std::string_view kind) {
  constexpr std::size_t largest = 1 << 20;
  for (buffer.resize(4096);; buffer.resize(buffer.size() * 2)) {
    Entry* found = nullptr;
    const int error = function(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (error == ERANGE && buffer.size() < largest) continue;
    if (error == EINTR) continue;
    // Some databases report these for a missing entry (getpwnam(3)).
    if (error == ENOENT || error == ESRCH) return false;
    if (error != 0) throw_errno(error, fmt::format("look up the {} '{}'", kind, name));
    return found != nullptr;
  }
}

std::vector<gid_t> groups_of(const std::string& name, gid_t primary) {
  std::vector<gid_t> out(16);
  int count = static_cast<int>(out.size());
  while (::getgrouplist(name.c_str(), primary, out.data(), &count) < 0) {
    out.resize(std::max(out.size() * 2, static_cast<std::size_t>(count)));
    count = static_cast<int>(out.size());
  }
  out.resize(static_cast<std::size_t>(count));
  return out;
}

[[noreturn]] void refuse_status(std::string_view field) {
  throw failure(errc::protocol_violation, fmt::format("read /proc/self/task/TID/status: {}", field),
                "the field is missing or malformed; is /proc mounted?");
}

/// Returns the rest of the line that starts with "FIELD:"; nullopt if there is none.
std::optional<std::string_view> find_field(std::string_view text, std::string_view field) {
  const auto start = fmt::format("{}:", field);
  for (std::size_t at = 0; at < text.size();) {
    const auto line = text.substr(at, text.find('\n', at) - at);
    if (line.starts_with(start)) return line.substr(start.size());
    at += line.size() + 1;
  }
  return std::nullopt;
}

std::string_view field_of(std::string_view text, std::string_view field) {
  const auto found = find_field(text, field);
  if (!found) refuse_status(field);
  return *found;
}

template <class Id>
std::vector<Id> numbers_of(std::string_view text, std::string_view field) {
  std::istringstream in{std::string(field_of(text, field))};
  const std::vector<std::uint64_t> numbers{std::istream_iterator<std::uint64_t>(in), {}};
  if (!in.eof()) refuse_status(field);
  std::vector<Id> out;
  for (const auto number : numbers) {
    if (number > ~Id{0}) refuse_status(field);
    out.push_back(static_cast<Id>(number));
  }
  return out;
}

template <class Id>
std::tuple<Id, Id, Id, Id> four_ids(std::string_view text, std::string_view field) {
  const auto ids = numbers_of<Id>(text, field);
  if (ids.size() != 4) refuse_status(field);
  return {ids[0], ids[1], ids[2], ids[3]};
}

unsigned one_number(std::string_view text, std::string_view field) {
  const auto numbers = numbers_of<unsigned>(text, field);
  if (numbers.size() != 1) refuse_status(field);
  return numbers.front();
}

capability_set capabilities_of(std::string_view text, std::string_view field) {
  std::istringstream in{std::string(field_of(text, field))};
  std::uint64_t bits = 0;
  if (!(in >> std::hex >> bits)) refuse_status(field);
  return capability_set::from_bits(bits);
}

std::uint64_t effective_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) throw_errno("read the capabilities");
  return std::uint64_t{data[1].effective} << 32 | data[0].effective;
}

/// Also clears the ambient set. `argument`: the capability_set to keep.
int drop_bounding_set(const void* argument) noexcept {
  const auto& kept = *static_cast<const capability_set*>(argument);
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (unsigned number = 0; number < 64; ++number) {
    if (kept.has(number)) continue;
    if (::prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0) continue;
    return errno == EINVAL ? 0 : errno;  // EINVAL: the kernel has no more capabilities
  }
  return 0;
}

int drop_own_capabilities(const void* argument) noexcept {
  const auto bits = static_cast<const capability_set*>(argument)->bits();
  const auto low = static_cast<std::uint32_t>(bits);
  const auto high = static_cast<std::uint32_t>(bits >> 32);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct data[2] = {{low, low, 0}, {high, high, 0}};
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (::syscall(SYS_capset, &header, data) != 0) return errno;
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : errno;
}

void become(const user& identity) {
  const auto operation = fmt::format("become the user '{}' ({})", identity.name, identity.uid);
  constexpr const char* remedy = "root is needed";
  // An unprivileged process that already is this user can change nothing, and need not.
  if (::geteuid() != 0 && ::getuid() == identity.uid && ::geteuid() == identity.uid) return;
  if (::setgroups(identity.groups.size(), identity.groups.data()) != 0 ||
      ::setresgid(identity.gid, identity.gid, identity.gid) != 0 ||
      ::setresuid(identity.uid, identity.uid, identity.uid) != 0)
    throw_errno(operation, errno == EPERM ? remedy : "");
  auto groups = identity.groups;
  std::sort(groups.begin(), groups.end());
  for (const auto& thread : read_privileges()) {
    auto actual = thread.groups;
    std::sort(actual.begin(), actual.end());
    const bool has_ids = thread.real_gid == identity.gid && thread.effective_gid == identity.gid &&
                         thread.saved_gid == identity.gid && thread.filesystem_gid == identity.gid;
    if (!has_ids || !std::includes(groups.begin(), groups.end(), actual.begin(), actual.end()))
      throw failure(errc::protocol_violation, operation,
                    fmt::format("thread {} still has other groups", thread.thread));
  }
}

/// Reduces the bounding and ambient sets to `kept`. Returns false without CAP_SETPCAP.
bool drop_other_bounds(capability_set kept) {
  if (!capability_set::from_bits(effective_capabilities()).has(CAP_SETPCAP)) return false;
  run_on_every_thread(drop_bounding_set, &kept, "drop the bounding set of capabilities");
  return true;
}

/// Drops all capabilities except `kept`, and sets no_new_privs. Returns the remaining ones.
capability_set drop_other_capabilities(capability_set kept) {
  const auto possible = capability_set::from_bits(effective_capabilities() & kept.bits());
  run_on_every_thread(drop_own_capabilities, &possible, "drop the capabilities");
  return possible;
}

}  // namespace

std::optional<user> find_user(const std::string& name) {
  passwd entry{};
  std::vector<char> buffer;
  if (!look_up(::getpwnam_r, name, entry, buffer, "user")) return std::nullopt;
  return user{entry.pw_name, entry.pw_uid, entry.pw_gid, groups_of(entry.pw_name, entry.pw_gid)};
}

std::optional<gid_t> find_group(const std::string& name) {
  group entry{};
  std::vector<char> buffer;
  if (!look_up(::getgrnam_r, name, entry, buffer, "group")) return std::nullopt;
  return entry.gr_gid;
}

thread_privileges parse_status(const std::string& text) {
  thread_privileges out;
  out.thread = static_cast<pid_t>(one_number(text, "Pid"));
  std::tie(out.real_uid, out.effective_uid, out.saved_uid, out.filesystem_uid) =
      four_ids<uid_t>(text, "Uid");
  std::tie(out.real_gid, out.effective_gid, out.saved_gid, out.filesystem_gid) =
      four_ids<gid_t>(text, "Gid");
  out.groups = numbers_of<gid_t>(text, "Groups");
  out.inheritable = capabilities_of(text, "CapInh");
  out.permitted = capabilities_of(text, "CapPrm");
  out.effective = capabilities_of(text, "CapEff");
  out.bounding = capabilities_of(text, "CapBnd");
  out.ambient = capabilities_of(text, "CapAmb");
  out.no_new_privileges = one_number(text, "NoNewPrivs") == 1;
  // A kernel built without seccomp has no such field.
  if (find_field(text, "Seccomp")) out.seccomp_mode = one_number(text, "Seccomp");
  return out;
}

std::vector<thread_privileges> read_privileges() {
  std::vector<thread_privileges> out;
  std::error_code problem;
  for (std::filesystem::directory_iterator entry("/proc/self/task", problem), end;
       !problem && entry != end; entry.increment(problem)) {
    std::ifstream file(entry->path() / "status");
    const std::string text(std::istreambuf_iterator<char>(file), {});
    if (text.empty() && !std::filesystem::exists(entry->path())) continue;  // the thread has ended
    out.push_back(parse_status(text));
  }
  if (problem) throw failure(problem, "list /proc/self/task", "is /proc mounted?");
  return out;
}

void hide_memory() {
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) throw_errno("forbid core dumps");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
    throw_errno("hide the memory of this process");
}

privilege_summary drop_privileges(const std::optional<user>& identity, capability_set kept) {
  if (identity && !kept.empty())
    throw failure(errc::invalid_argument, drop_operation, "another user cannot keep capabilities");
  privilege_summary out;
  out.bounding_set_dropped = drop_other_bounds(kept);
  if (identity) become(*identity);
  out.effective = drop_other_capabilities(kept);
  hide_memory();
  out.uid = ::geteuid();
  verify_privileges(identity ? identity->uid : out.uid, out.effective);
  return out;
}

void limit_capabilities(capability_set kept) noexcept {
  try {
    drop_other_bounds(kept);
    verify_privileges(::geteuid(), drop_other_capabilities(kept));
  } catch (const std::exception& problem) {
    log().warn("{}; this program keeps its privileges", problem.what());
  }
}

void verify_privileges(uid_t uid, capability_set kept) {
  for (const auto& thread : read_privileges()) {
    const auto expect = [&](bool holds, std::string_view problem) {
      if (!holds)
        throw failure(errc::protocol_violation, drop_operation,
                      fmt::format("thread {} {}", thread.thread, problem));
    };
    expect(thread.real_uid == uid && thread.effective_uid == uid && thread.saved_uid == uid &&
               thread.filesystem_uid == uid,
           "still has another user");
    for (const auto set : {thread.effective, thread.permitted, thread.inheritable, thread.ambient})
      expect((set.bits() & ~kept.bits()) == 0, "still has capabilities");
    expect(thread.no_new_privileges, "lacks no_new_privs");
  }
}

}  // namespace xenpv::sandbox
