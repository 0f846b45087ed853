#include "sim/intercept/filter.hpp"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace xenpv::sim::intercept {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t native_architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t native_architecture = AUDIT_ARCH_AARCH64;
#else
#error "the system calls of this architecture cannot be intercepted"
#endif

constexpr unsigned max_evtchn_descriptors = 128;

constexpr sock_filter statement(unsigned code, std::uint32_t value) {
  return {static_cast<std::uint16_t>(code), 0, 0, value};
}

constexpr sock_filter load(std::size_t offset) {
  return statement(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}

/// Loads the lower half of an argument. Both architectures are little-endian.
constexpr sock_filter load_argument(std::size_t index) {
  return load(offsetof(seccomp_data, args) + index * sizeof(std::uint64_t));
}

constexpr sock_filter result(std::uint32_t action) {
  return statement(BPF_RET | BPF_K, action);
}

/// Skips `then` or `otherwise` instructions.
constexpr sock_filter jump_if(unsigned test, std::uint32_t value, std::uint8_t then,
                              std::uint8_t otherwise) {
  return {static_cast<std::uint16_t>(BPF_JMP | test | BPF_K), then, otherwise, value};
}

constexpr sock_filter notify = result(SECCOMP_RET_USER_NOTIF);
constexpr sock_filter allow = result(SECCOMP_RET_ALLOW);

class filter_builder {
 public:
  filter_builder() {
    // Other ABIs of the processor, such as the 32-bit ABI, have different system call numbers.
    program_ = {load(offsetof(seccomp_data, arch)), jump_if(BPF_JEQ, native_architecture, 1, 0),
                allow, load(offsetof(seccomp_data, nr))};
  }

  /// Executes `body`, which must end with results, for the system call `number`.
  void add(long number, std::initializer_list<sock_filter> body) {
    program_.push_back(jump_if(BPF_JEQ, static_cast<std::uint32_t>(number), 0,
                               static_cast<std::uint8_t>(body.size())));
    program_.insert(program_.end(), body);
  }

  [[nodiscard]] std::vector<sock_filter> finish() {
    program_.push_back(allow);
    return std::move(program_);
  }

 private:
  std::vector<sock_filter> program_;
};

void add_path_calls(filter_builder& filter) {
#ifdef SYS_open
  for (const long number : {SYS_open, SYS_stat, SYS_lstat, SYS_access})
    filter.add(number, {notify});
#endif
  for (const long number : {SYS_openat, SYS_openat2, SYS_faccessat, SYS_faccessat2})
    filter.add(number, {notify});
  // C libraries also implement fstat(3) with these calls; then, there is no path.
  filter.add(SYS_newfstatat,
             {load_argument(3), jump_if(BPF_JSET, AT_EMPTY_PATH, 1, 0), notify, allow});
  filter.add(SYS_statx, {load_argument(2), jump_if(BPF_JSET, AT_EMPTY_PATH, 1, 0), notify, allow});
}

/// The requests of evtchn and privcmd have type E or P and no direction.
void add_ioctl(filter_builder& filter) {
  constexpr std::uint32_t direction_and_type = 0xC000FF00;
  filter.add(SYS_ioctl,
             {load_argument(1), statement(BPF_ALU | BPF_AND | BPF_K, direction_and_type),
              jump_if(BPF_JEQ, 'E' << 8, 2, 0), jump_if(BPF_JEQ, 'P' << 8, 1, 0), allow, notify});
}

/// Selects writes to evtchn. A descriptor that the process has duplicated or inherited is outside
/// the range: then, only the usual write of a single port is selected.
void add_writes(filter_builder& filter, const descriptor_range& evtchn) {
  filter.add(SYS_write, {load_argument(0), jump_if(BPF_JGE, evtchn.first, 0, 1),
                         jump_if(BPF_JGE, evtchn.end, 0, 2), load_argument(2),
                         jump_if(BPF_JEQ, sizeof(std::uint32_t), 0, 1), notify, allow});
  filter.add(SYS_writev, {load_argument(0), jump_if(BPF_JGE, evtchn.first, 0, 1),
                          jump_if(BPF_JGE, evtchn.end, 0, 1), allow, notify});
}

}  // namespace

descriptor_range choose_evtchn_range() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = FD_SETSIZE;
  const auto end = static_cast<unsigned>(std::min<rlim_t>(limit.rlim_cur, FD_SETSIZE));
  return {end - std::min(max_evtchn_descriptors, end / 2), end};
}

std::vector<sock_filter> make_filter(const descriptor_range& evtchn) {
  filter_builder filter;
  add_path_calls(filter);
  add_ioctl(filter);
  add_writes(filter, evtchn);
  return filter.finish();
}

unique_fd install_filter(const descriptor_range& evtchn) noexcept {
  auto filter = make_filter(evtchn);
  sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return {};
  // Once the supervisor has received a call, only a fatal signal may interrupt it. Otherwise, the
  // kernel would restart the call after any signal, and bind a second port.
  constexpr unsigned long flags =
      SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
  return unique_fd(
      static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program)));
}

}  // namespace xenpv::sim::intercept
