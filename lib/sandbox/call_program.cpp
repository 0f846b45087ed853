#include "sandbox/call_program.hpp"

#include <fmt/format.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string_view>

#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sandbox {
namespace {

/// Unknown to libseccomp before 2.5.4. Without a rule, the call fails with ENOSYS.
constexpr std::string_view newer_call = "futex_waitv";

using filter_context = std::unique_ptr<void, decltype(&::seccomp_release)>;

/// Throws if a function of libseccomp returned an error (a negative errno value).
void check(int result, const std::string& operation) {
  if (result < 0) throw_errno(-result, operation);
}

void add_rule(const filter_context& context, const call_policy::rule& rule) {
  const int number = ::seccomp_syscall_resolve_name(rule.call.c_str());
  if (number == __NR_SCMP_ERROR && rule.call == newer_call) return;
  if (number == __NR_SCMP_ERROR)
    throw failure(errc::invalid_argument, fmt::format("permit the system call '{}'", rule.call),
                  "libseccomp does not know it");
  if (number < 0) return;  // another architecture has it
  std::vector<scmp_arg_cmp> conditions;
  for (const auto& condition : rule.conditions)
    conditions.push_back({condition.argument, SCMP_CMP_MASKED_EQ, condition.mask, condition.value});
  const auto action =
      rule.error == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(static_cast<std::uint32_t>(rule.error));
  const int result = ::seccomp_rule_add_array(
      context.get(), action, number, static_cast<unsigned>(conditions.size()), conditions.data());
  if (result == -EEXIST) return;  // an identical rule exists
  check(result, fmt::format("permit the system call {}", rule.call));
}

/// Makes the calls that start processes and threads fail silently, unless the policy has rules for
/// them.
void refuse_processes(const filter_context& context, const call_policy& policy) {
  for (const auto* const call : {"clone", "clone3", "fork", "vfork"}) {
    const auto& rules = policy.rules();
    const bool has_rule = std::any_of(rules.begin(), rules.end(),
                                      [&](const auto& rule) { return rule.call == call; });
    if (!has_rule) add_rule(context, {call, {}, EPERM});
  }
}

std::vector<sock_filter> export_program(const filter_context& context) {
  constexpr const char* operation = "export the system-call filter";
  const unique_fd file(::memfd_create("seccomp", MFD_CLOEXEC));
  if (!file) throw_errno(operation);
  check(::seccomp_export_bpf(context.get(), file.get()), operation);
  const auto size = ::lseek(file.get(), 0, SEEK_END);
  if (size < 0) throw_errno(operation);
  std::vector<sock_filter> out(static_cast<std::size_t>(size) / sizeof(sock_filter));
  if (::pread(file.get(), out.data(), static_cast<std::size_t>(size), 0) != size)
    throw_errno(operation);
  return out;
}

}  // namespace

std::vector<sock_filter> compile(const call_policy& policy, default_action action) {
  const auto fallback = action == default_action::trap ? SCMP_ACT_TRAP : SCMP_ACT_NOTIFY;
  const filter_context context(::seccomp_init(fallback), ::seccomp_release);
  if (context == nullptr)
    throw failure(errc::not_available, "create a system-call filter",
                  "libseccomp or the kernel lacks the feature");
  const auto foreign = action == default_action::trap ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ALLOW;
  // libseccomp checks whether the kernel supports the action.
  if (::seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, foreign) != 0)
    throw failure(errc::not_available, "create a system-call filter",
                  "seccomp(2) is refused, perhaps by a filter of the service manager or container");
  // Searches the calls as a tree instead of one by one. Optional.
  ::seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
  for (const auto& rule : policy.rules())
    add_rule(context, rule);
  if (action == default_action::trap) refuse_processes(context, policy);
  return export_program(context);
}

}  // namespace xenpv::sandbox
