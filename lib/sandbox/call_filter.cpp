#include "sandbox/call_filter.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <exception>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "base/enum_name.hpp"
#include "base/pipe.hpp"
#include "sandbox/call_names.hpp"
#include "sandbox/call_program.hpp"
#include "sandbox/denied_call.hpp"
#include "sandbox/every_thread.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::sandbox {
namespace {

/// si_code of a SIGSYS that a filter causes (SYS_SECCOMP, which glibc's headers lack).
constexpr int caused_by_filter = 1;

constexpr const char* install_operation = "install the system-call filter";

/// State of the signal handler. Static, because a filter cannot be removed.
std::atomic<int> report_pipe = -1;
std::atomic<int> highest_known_call = 0;
std::atomic<std::uint64_t> denial_count = 0;

#if defined(__x86_64__)
void set_result(ucontext_t& context, long long value) noexcept {
  context.uc_mcontext.gregs[REG_RAX] = value;
}
std::array<std::uint64_t, 3> arguments_of(const ucontext_t& context) noexcept {
  const auto& registers = context.uc_mcontext.gregs;
  return {static_cast<std::uint64_t>(registers[REG_RDI]),
          static_cast<std::uint64_t>(registers[REG_RSI]),
          static_cast<std::uint64_t>(registers[REG_RDX])};
}
#elif defined(__aarch64__)
void set_result(ucontext_t& context, long long value) noexcept {
  context.uc_mcontext.regs[0] = static_cast<unsigned long long>(value);
}
std::array<std::uint64_t, 3> arguments_of(const ucontext_t& context) noexcept {
  const auto& registers = context.uc_mcontext.regs;
  return {registers[0], registers[1], registers[2]};
}
#else
#error "the registers of a system call are not known for this architecture"
#endif

/// The error for a call outside the policy.
int error_for(int number) noexcept {
  return number > highest_known_call ? ENOSYS : EPERM;
}

void handle_denied_call(int, siginfo_t* info, void* raw_context) noexcept {
  auto& context = *static_cast<ucontext_t*>(raw_context);
  const int before = errno;
  if (info->si_code != caused_by_filter) return;
  ++denial_count;
  denied_call call{
      info->si_syscall, static_cast<pid_t>(::syscall(SYS_gettid)), {}, arguments_of(context)};
  ::prctl(PR_GET_NAME, call.thread_name.data());
  // A full pipe means that the call has been reported often enough.
  static_cast<void>(!::write(report_pipe, &call, sizeof call));
  set_result(context, -error_for(info->si_syscall));
  errno = before;
}

/// Installs a program on all threads. Returns the supervisor's descriptor, or none with
/// default_action::trap. Only makes system calls: they may be filtered when it returns.
unique_fd install(const std::vector<sock_filter>& program, default_action action) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) throw_errno(install_operation);
  const sock_fprog kernel_program{static_cast<unsigned short>(program.size()),
                                  const_cast<sock_filter*>(program.data())};
  // Without SPEC_ALLOW, kernels before 5.16 slow the process down to protect it from code that it
  // does not run (speculative store bypass).
  unsigned long flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  if (action == default_action::notify)
    flags |= SECCOMP_FILTER_FLAG_TSYNC_ESRCH | SECCOMP_FILTER_FLAG_NEW_LISTENER;
  const long result = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &kernel_program);
  if (result < 0) {
    if (errno == ENOSYS || (errno == EINVAL && action == default_action::trap))
      throw failure(errc::not_available, install_operation,
                    "the kernel lacks CONFIG_SECCOMP_FILTER; use --sandbox=off");
    throw_errno(install_operation);
  }
  if (action == default_action::notify) return unique_fd(static_cast<int>(result));
  if (result > 0)
    throw failure(errc::not_available, install_operation,
                  fmt::format("thread {} has a filter of its own", result));
  return {};
}

/// Starts a thread that blocks all signals except SIGSYS.
template <class Function>
std::thread start_thread(const char* name, Function function) {
  sigset_t others;
  sigset_t before;
  ::sigfillset(&others);
  ::sigdelset(&others, SIGSYS);
  ::pthread_sigmask(SIG_SETMASK, &others, &before);
  try {
    std::thread out(std::move(function));
    ::pthread_setname_np(out.native_handle(), name);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return out;
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}

}  // namespace

std::string_view to_string(filter_mode mode) noexcept {
  return enum_name<filter_mode::on>(mode, "off", "log", "on");
}

/// Logs the denied calls. Its threads make only calls that it adds to the policy.
class call_filter::reporter {
 public:
  reporter(call_policy policy, filter_mode mode);
  ~reporter();
  reporter(const reporter&) = delete;
  reporter& operator=(const reporter&) = delete;

 private:
  void install_trap(const call_policy& policy);
  /// In mode `log`, the kernel asks this object's supervisor thread about each call outside the
  /// policy. A separate thread writes the log, because logging may itself make such calls.
  void install_supervisor(const call_policy& policy);
  void supervise(int listener);
  void permit_call(int listener);
  void write_log();

  call_names names_;
  denial_log log_;
  pipe_ends reports_ = make_pipe();  ///< denied_call
  pipe_ends stop_ = make_pipe();
  unique_fd listener_;
  std::vector<std::byte> notification_;
  std::thread supervisor_;
  std::thread logger_;
};

call_filter::reporter::reporter(call_policy policy, filter_mode mode)
    : log_(mode == filter_mode::on) {
  policy.add(runtime_calls()).allow_all({"read", "write", "writev", "poll", "ppoll", "close"});
  ::fcntl(reports_.writer.get(), F_SETFL, O_NONBLOCK);
  highest_known_call = names_.highest();
  denial_count = 0;
  logger_ = start_thread("xenpv-sandbox", [this] { write_log(); });
  try {
    if (mode == filter_mode::on)
      install_trap(policy);
    else
      install_supervisor(policy);
  } catch (...) {
    stop_.writer.reset();
    logger_.join();
    throw;
  }
}

call_filter::reporter::~reporter() {
  report_pipe = -1;
  stop_.writer.reset();
  logger_.join();
  if (supervisor_.joinable()) supervisor_.join();
}

void call_filter::reporter::install_trap(const call_policy& policy) {
  const auto program = compile(policy, default_action::trap);
  report_pipe = reports_.writer.get();
  struct sigaction action {};
  action.sa_sigaction = handle_denied_call;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  ::sigfillset(&action.sa_mask);
  if (::sigaction(SIGSYS, &action, nullptr) != 0) throw_errno(install_operation);
  unblock_on_every_thread(SIGSYS);
  static_cast<void>(install(program, default_action::trap));
}

void call_filter::reporter::install_supervisor(const call_policy& policy) {
  seccomp_notif_sizes sizes{};
  if (::syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0U, &sizes) != 0)
    throw_errno(install_operation);
  notification_.resize(std::max<std::size_t>(sizes.seccomp_notif, sizeof(seccomp_notif)));
  auto permitted = policy;
  permitted.allow_ioctl(SECCOMP_IOCTL_NOTIF_RECV).allow_ioctl(SECCOMP_IOCTL_NOTIF_SEND);
  const auto program = compile(permitted, default_action::notify);
  // Other calls of this thread may wait for the supervisor from now on, so it installs the filter.
  std::promise<void> installed;
  supervisor_ = start_thread("xenpv-sandbox", [&installed, &program, this] {
    int listener = -1;
    try {
      listener_ = install(program, default_action::notify);
      listener = listener_.get();
      installed.set_value();
    } catch (...) {
      installed.set_exception(std::current_exception());
      return;
    }
    supervise(listener);
  });
  try {
    installed.get_future().get();
  } catch (...) {
    supervisor_.join();
    throw;
  }
}

void call_filter::reporter::supervise(int listener) {
  std::array<pollfd, 2> watched = {{{listener, POLLIN, 0}, {stop_.reader.get(), POLLIN, 0}}};
  while (watched[1].revents == 0) {
    if (::poll(watched.data(), watched.size(), -1) < 0) continue;
    if (watched[0].revents != 0) permit_call(listener);
  }
}

void call_filter::reporter::permit_call(int listener) {
  std::fill(notification_.begin(), notification_.end(), std::byte{});  // the kernel requires zeros
  auto& received = *reinterpret_cast<seccomp_notif*>(notification_.data());
  if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &received) != 0) return;  // the thread has ended
  ++denial_count;
  const auto& args = received.data.args;
  const denied_call call{
      received.data.nr, static_cast<pid_t>(received.pid), {}, {args[0], args[1], args[2]}};
  static_cast<void>(!::write(reports_.writer.get(), &call, sizeof call));
  seccomp_notif_resp response{received.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE};
  ::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

void call_filter::reporter::write_log() {
  std::array<pollfd, 2> watched = {
      {{reports_.reader.get(), POLLIN, 0}, {stop_.reader.get(), POLLIN, 0}}};
  for (;;) {
    if (::poll(watched.data(), watched.size(), -1) < 0) continue;
    if (watched[0].revents == 0) return;  // stop only after all reports have been logged
    denied_call call;
    if (::read(reports_.reader.get(), &call, sizeof call) != sizeof call) continue;
    if (const auto message = log_.add(call, names_.find(call.number))) log().warn("{}", *message);
  }
}

call_filter::call_filter(call_policy policy, filter_mode mode) {
  if (mode == filter_mode::off) return;
  try {
    reporter_ = std::make_unique<reporter>(std::move(policy), mode);
  } catch (const failure& e) {
    const bool is_permanent = e.code() == make_error_code(errc::invalid_argument);
    if (mode == filter_mode::on || is_permanent) throw;
    log().warn(
        "sandbox: cannot log system calls outside the permitted list: {} (another supervisor, "
        "such as that of a container, or a kernel before 5.7); no filter is installed",
        e.what());
  }
}

call_filter::~call_filter() = default;

std::uint64_t call_filter::denied() const noexcept {
  return reporter_ == nullptr ? 0 : denial_count.load();
}

}  // namespace xenpv::sandbox
