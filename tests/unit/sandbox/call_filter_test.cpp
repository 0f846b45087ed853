#include "sandbox/call_filter.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <list>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "confined_child.hpp"
#include "waiting_thread.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sandbox {
namespace {

using testing::HasSubstr;

call_policy server_like_policy() {
  call_policy out;
  out.add(runtime_calls()).add(thread_calls()).add(descriptor_calls()).add(waiting_calls());
  return out.add(socket_calls());
}

/// Runs `function` in a child process under the filter. The child makes the policy, because it
/// contains the process ID.
template <class Function>
child_end run_filtered(call_policy (*make_policy)(), Function function,
                       filter_mode mode = filter_mode::on) {
  return run_in_child([&] {
    const call_filter filter(make_policy(), mode);
    function();
  });
}

TEST(call_filter, denies_calls_outside_the_policy_and_logs_each_once) {
  const auto end = run_filtered(server_like_policy, [] {
    for (int i = 0; i < 3; ++i) {
      require_error(::open("/etc/passwd", O_RDONLY), EPERM, "open");
      require_error(::execl("/bin/true", "true", nullptr), EPERM, "execve");
      require_error(::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr), EPERM, "ptrace");
    }
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
  EXPECT_EQ(count_of(end.messages, "denied the system call openat"), 1) << end.messages;
  EXPECT_EQ(count_of(end.messages, "denied the system call execve"), 1) << end.messages;
  EXPECT_EQ(count_of(end.messages, "denied the system call ptrace"), 1) << end.messages;
  EXPECT_THAT(end.messages,
              HasSubstr("please report this line (--sandbox=log permits such calls)"));
}

TEST(call_filter, counts_denied_calls) {
  const auto end = run_in_child([] {
    const call_filter filter(server_like_policy(), filter_mode::on);
    require(filter.denied() == 0, "no call is denied at first");
    require_error(::chdir("/"), EPERM, "chdir");
    require_error(::chdir("/"), EPERM, "chdir");
    require(filter.denied() == 2, "two calls are denied");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(call_filter, permits_sockets_of_listed_families_only) {
  const auto make_policy = [] { return server_like_policy().allow_socket(AF_UNIX); };
  const auto end = run_filtered(+make_policy, [] {
    require(::socket(AF_UNIX, SOCK_STREAM, 0) >= 0, "a Unix socket is permitted");
    require_error(::socket(AF_INET, SOCK_STREAM, 0), EPERM, "socket(AF_INET)");
    require_error(::socket(AF_NETLINK, SOCK_RAW, 0), EPERM, "socket(AF_NETLINK)");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
  EXPECT_THAT(end.messages, HasSubstr(", family 0x2)"));
  EXPECT_THAT(end.messages, HasSubstr(", family 0x10)"));
}

TEST(call_filter, permits_ioctls_by_request) {
  const auto make_policy = [] { return server_like_policy().allow_ioctl(FIONREAD); };
  const auto end = run_filtered(+make_policy, [] {
    int ends[2];
    require(::pipe2(ends, O_CLOEXEC) == 0, "pipe2 is permitted");
    int readable = 0;
    require(::ioctl(ends[0], FIONREAD, &readable) == 0, "FIONREAD is permitted");
    require_error(::ioctl(ends[0], FIONBIO, &readable), EPERM, "FIONBIO");
    // The kernel ignores the upper half of the request, so the filter must ignore it as well.
    const auto wide = std::uint64_t{FIONREAD} | 0xffff'ffff'0000'0000;
    require(::syscall(SYS_ioctl, ends[0], wide, &readable) == 0, "the upper half is ignored");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
  EXPECT_THAT(end.messages, HasSubstr("denied the system call ioctl (" + std::to_string(SYS_ioctl) +
                                      ", request 0x5421)"));
}

TEST(call_filter, denies_executable_memory) {
  const auto end = run_filtered(server_like_policy, [] {
    const auto map = [](int protection) {
      return ::mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    };
    void* const memory = map(PROT_READ | PROT_WRITE);
    require(memory != MAP_FAILED, "writable memory is permitted");
    require(map(PROT_READ | PROT_EXEC) == MAP_FAILED && errno == EPERM, "mmap(PROT_EXEC) fails");
    require_error(::mprotect(memory, 4096, PROT_READ | PROT_EXEC), EPERM, "mprotect(PROT_EXEC)");
    require(::mprotect(memory, 4096, PROT_READ) == 0, "mprotect(PROT_READ) is permitted");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(call_filter, denies_processes_namespaces_and_other_options) {
  const auto end = run_filtered(server_like_policy, [] {
    require_error(::fork(), EPERM, "fork");
    require_error(::vfork(), EPERM, "vfork");
    require(std::system("true") != 0, "system(3) fails");
    // All but one of the flags of a thread, and all with a namespace.
    for (const auto flags : {CLONE_VM, CLONE_THREAD, CLONE_VM | CLONE_THREAD | CLONE_NEWNS,
                             CLONE_VM | CLONE_THREAD | CLONE_NEWPID})
      require_error(::syscall(SYS_clone, flags, 0, 0, 0, 0), EPERM, "clone with other flags");
    require_error(::unshare(CLONE_NEWUSER), EPERM, "unshare");
    require_error(::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), EPERM, "clone");
    require_error(::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), EPERM, "prctl(PR_SET_DUMPABLE)");
    require_error(::kill(::getppid(), 0), EPERM, "kill of another process");
    require(::kill(::getpid(), 0) == 0, "kill of this process is permitted");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(call_filter, permits_commands_of_fcntl_that_signal_no_process) {
  const auto end = run_filtered(server_like_policy, [] {
    int ends[2];
    require(::pipe2(ends, O_CLOEXEC) == 0, "pipe2 is permitted");
    require_error(::fcntl(ends[0], F_SETOWN, ::getppid()), EPERM, "F_SETOWN");
    const f_owner_ex owner{F_OWNER_PID, ::getppid()};
    require_error(::fcntl(ends[0], F_SETOWN_EX, &owner), EPERM, "F_SETOWN_EX");
    require_error(::fcntl(ends[0], F_SETSIG, SIGKILL), EPERM, "F_SETSIG");
    require(::fcntl(ends[0], F_DUPFD_CLOEXEC, 0) >= 0, "F_DUPFD_CLOEXEC is permitted");
    require(::fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0, "F_SETFD is permitted");
    require(::fcntl(ends[0], F_SETFL, ::fcntl(ends[0], F_GETFL) | O_NONBLOCK) == 0,
            "F_SETFL is permitted");
    require(::fcntl(ends[0], F_SETPIPE_SZ, 4096) > 0, "F_SETPIPE_SZ is permitted");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(call_filter, permits_scheduling_of_the_calling_thread_only) {
  const auto end = run_filtered(server_like_policy, [] {
    cpu_set_t cpus;
    require(::sched_getaffinity(0, sizeof cpus, &cpus) == 0, "sched_getaffinity is permitted");
    require(::sched_setaffinity(0, sizeof cpus, &cpus) == 0, "its own affinity is permitted");
    require_error(::sched_setaffinity(::getppid(), sizeof cpus, &cpus), EPERM,
                  "the affinity of another process");
    require(::setpriority(PRIO_PROCESS, 0, 19) == 0, "its own priority is permitted");
    require_error(::setpriority(PRIO_PROCESS, static_cast<id_t>(::getppid()), 19), EPERM,
                  "the priority of another process");
    require_error(::setpriority(PRIO_USER, 0, 19), EPERM, "the priority of the user");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(call_filter, answers_calls_newer_than_libseccomp_with_no_such_call) {
  const auto end = run_filtered(server_like_policy,
                                [] { require_error(::syscall(1000), ENOSYS, "system call 1000"); });
  EXPECT_TRUE(end.succeeded()) << end.messages;
  EXPECT_THAT(end.messages, HasSubstr("denied the system call unknown (1000)"));
}

TEST(call_filter, supports_what_the_runtime_libraries_do) {
  const auto end = run_in_child([] {
    const call_filter filter(server_like_policy(), filter_mode::on);
    std::mutex mutex;
    std::condition_variable changed;
    unsigned finished = 0;
    std::vector<std::thread> threads;
    threads.reserve(8);
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        std::list<std::string> words;
        for (int j = 0; j < 20000; ++j)
          words.emplace_back(100, 'x');
        // Large blocks are mapped, and unmapped or remapped.
        std::vector<char> large(std::size_t{8} << 20);
        large.resize(std::size_t{24} << 20);
        try {
          throw std::runtime_error("thrown under the filter");
        } catch (const std::runtime_error& problem) {
          require(std::string(problem.what()) == "thrown under the filter", "exceptions work");
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        const std::lock_guard lock(mutex);
        ++finished;
        changed.notify_all();
      });
    {
      std::unique_lock lock(mutex);
      require(changed.wait_for(lock, std::chrono::seconds(60), [&] { return finished == 8; }),
              "all threads finish");
    }
    for (auto& thread : threads)
      thread.join();
    struct stat status {};
    require(::fstat(STDERR_FILENO, &status) == 0, "fstat works");
    require(::sysconf(_SC_NPROCESSORS_CONF) >= -1, "sysconf returns");
    require(::eventfd(0, EFD_CLOEXEC) >= 0, "eventfd works");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
  // sysconf() may open a file; nothing else may be denied.
  EXPECT_EQ(count_of(end.messages, "denied"),
            count_of(end.messages, "denied the system call openat"))
      << end.messages;
}

TEST(call_filter, leaves_abort_working) {
  const auto end = run_filtered(server_like_policy, [] { std::abort(); });
  EXPECT_TRUE(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGABRT) << end.messages;
  EXPECT_EQ(end.messages, "");
}

TEST(call_filter, refuses_threads_unless_the_policy_has_them) {
  const auto end = run_filtered(runtime_calls, [] {
    try {
      std::thread([] {}).join();
      require(false, "a thread cannot start");
    } catch (const std::system_error&) {
    }
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(call_filter, applies_to_threads_that_run_and_that_block_signals) {
  const auto end = run_in_child([] {
    const auto expect_denial = [] { require_error(::chdir("/"), EPERM, "chdir in a thread"); };
    waiting_thread open_thread(expect_denial);
    waiting_thread blocked_thread(expect_denial, signal_mask::all);
    const call_filter filter(server_like_policy(), filter_mode::on);
    open_thread.finish();
    blocked_thread.finish();
    require(filter.denied() == 2, "both calls are denied");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
  EXPECT_EQ(count_of(end.messages, "denied the system call chdir"), 1) << end.messages;
}

TEST(call_filter, only_logs_in_mode_log) {
  const auto end = run_filtered(
      server_like_policy,
      [] {
        for (int i = 0; i < 3; ++i)
          require(::chdir("/") == 0, "chdir is carried out");
        waiting_thread thread([] { require(::chdir("/tmp") == 0, "also in a thread"); });
        thread.finish();
      },
      filter_mode::log);
  EXPECT_TRUE(end.succeeded()) << end.messages;
  EXPECT_EQ(count_of(end.messages, "would deny the system call chdir"), 1) << end.messages;
}

TEST(call_filter, installs_nothing_in_mode_off) {
  const auto end = run_filtered(
      +[] { return call_policy(); },
      [] {
        require(::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 0, "there is no filter");
        require(::chdir("/") == 0, "chdir works");
      },
      filter_mode::off);
  EXPECT_TRUE(end.succeeded()) << end.messages;
  EXPECT_EQ(end.messages, "");
}

TEST(call_filter, sets_mode_and_no_new_privs) {
  const auto end = run_filtered(server_like_policy, [] {
    require(::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == SECCOMP_MODE_FILTER, "the filter is installed");
    require(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "no_new_privs is set");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
}

TEST(call_filter, refuses_a_name_that_libseccomp_does_not_know) {
  call_policy policy;
  policy.allow("opennat");
  try {
    const call_filter filter(policy, filter_mode::on);
    FAIL() << "accepted";
  } catch (const failure& problem) {
    EXPECT_STREQ(
        problem.what(),
        "permit the system call 'opennat': invalid argument (libseccomp does not know it)");
  }
}

TEST(call_filter, all_presets_are_known) {
  const auto make_policy = [] {
    return server_like_policy().add(open_calls()).add(change_file_calls());
  };
  const auto end = run_filtered(+make_policy, [] {
    const int file = ::open("/dev/null", O_RDONLY);
    require(file >= 0, "open is permitted");
    require_error(::syscall(SYS_openat2, AT_FDCWD, "/", nullptr, 0), ENOSYS, "openat2");
  });
  EXPECT_TRUE(end.succeeded()) << end.messages;
  EXPECT_EQ(end.messages, "");
}

}  // namespace
}  // namespace xenpv::sandbox
