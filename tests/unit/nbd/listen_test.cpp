// Listening sockets: stale sockets are replaced, files and sockets of other servers are left alone,
// permissions reach only the socket itself, and sockets from a service manager are inherited.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <thread>

#include "xenpv/nbd/listen.hpp"

namespace xenpv::nbd {
namespace {

namespace fs = std::filesystem;

std::string failure_text(const std::function<void()>& act) {
  try {
    act();
  } catch (const failure& problem) {
    return problem.what();
  }
  return "no failure";
}

/// Runs `act` in a child process, where it may change process-wide state. Returns the result of
/// `act`.
template <class Function>
int in_child(Function act) {
  const auto child = ::fork();
  if (child == 0) {
    int status = 99;
    try {
      status = act();
    } catch (const std::exception& problem) {
      std::fprintf(stderr, "%s\n", problem.what());
      status = 98;
    }
    ::_exit(status);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 97;
}

class listening : public testing::Test {
 protected:
  listening() {
    std::string name = testing::TempDir() + "xenpv-listen-XXXXXX";
    directory = ::mkdtemp(name.data());
    path = directory / "nbd.sock";
  }
  ~listening() override { fs::remove_all(directory); }

  /// Returns an empty unique_fd if the connection fails.
  [[nodiscard]] static unique_fd connect(const std::string& name, int flags = 0) {
    unique_fd out(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
    const auto address = address_of(name);
    if (::connect(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      out.reset();
    return out;
  }
  static sockaddr_un address_of(const std::string& name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    return address;
  }
  static unique_fd bind(int type, const std::string& name) {
    unique_fd out(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    const auto address = address_of(name);
    EXPECT_EQ(::bind(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return out;
  }
  /// Drops root privileges, but keeps access to the test directory. Call it in a child process.
  void become_nobody() const {
    fs::permissions(directory, fs::perms::all);
    if (::getuid() != 0) return;
    constexpr uid_t nobody = 65534;
    if (::setgroups(0, nullptr) != 0 || ::setresgid(nobody, nobody, nobody) != 0 ||
        ::setresuid(nobody, nobody, nobody) != 0)
      throw_errno("become nobody");
  }
  [[nodiscard]] struct stat status() const {
    struct stat out {};
    EXPECT_EQ(::lstat(path.c_str(), &out), 0);
    return out;
  }

  fs::path directory;
  std::string path;
};

TEST_F(listening, listens_at_an_unused_path) {
  const auto listener = listen_unix(path);
  EXPECT_TRUE(connect(path));
  EXPECT_NE(::fcntl(listener.get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(listening, replaces_a_stale_socket) {
  (void)listen_unix(path);
  ASSERT_TRUE(fs::exists(path));
  ASSERT_FALSE(connect(path));
  const auto listener = listen_unix(path);
  EXPECT_TRUE(connect(path));
}

TEST_F(listening, refuses_the_socket_of_another_server) {
  const auto other = listen_unix(path);
  EXPECT_EQ(failure_text([&] { (void)listen_unix(path); }),
            "listen on " + path + ": address already in use (another server is listening on it)");
  EXPECT_TRUE(connect(path)) << "the other server is unaffected";
}

TEST_F(listening, does_not_wait_for_a_server_that_does_not_accept) {
  const auto busy = bind(SOCK_STREAM, path);
  ASSERT_EQ(::listen(busy.get(), 0), 0);
  std::vector<unique_fd> waiting;
  for (;;) {
    auto next = connect(path, SOCK_NONBLOCK);
    if (!next) break;
    waiting.push_back(std::move(next));
  }
  EXPECT_EQ(failure_text([&] { (void)listen_unix(path); }),
            "listen on " + path + ": address already in use (another server is listening on it)");
}

TEST_F(listening, leaves_other_kinds_of_sockets_alone) {
  const auto other = bind(SOCK_DGRAM, path);
  EXPECT_EQ(failure_text([&] { (void)listen_unix(path); }),
            "listen on " + path + ": address already in use (another server is listening on it)");
  EXPECT_TRUE(fs::exists(path));
}

TEST_F(listening, leaves_files_alone) {
  std::ofstream(path) << "precious";
  EXPECT_EQ(failure_text([&] { (void)listen_unix(path); }),
            "listen on " + path + ": file exists (it is not a socket)");
  fs::remove(path);
  fs::create_symlink(directory / "elsewhere", path);
  EXPECT_EQ(failure_text([&] { (void)listen_unix(path); }),
            "listen on " + path + ": file exists (it is not a socket)");
}

TEST_F(listening, sets_the_mode_and_group_of_the_socket) {
  const auto before = ::umask(0);
  (void)listen_unix(path);
  EXPECT_EQ(status().st_mode & 07777U, 0600U) << "private by default";
  (void)listen_unix(path, 0666);
  EXPECT_EQ(status().st_mode & 07777U, 0666U);
  ::umask(0077);
  (void)listen_unix(path, 0660, ::getgid());
  EXPECT_EQ(status().st_mode & 07777U, 0660U) << "regardless of the umask";
  EXPECT_EQ(status().st_gid, ::getgid());
  EXPECT_EQ(::umask(before), 0077U) << "the umask is restored";
  if (::getuid() != 0) return;
  (void)listen_unix(path, 0660, 12345);
  EXPECT_EQ(status().st_gid, 12345U);
}

TEST_F(listening, removes_its_socket_when_the_group_is_refused) {
  EXPECT_EQ(in_child([&] {
              become_nobody();
              const auto text = failure_text([&] { (void)listen_unix(path, 0660, 12345); });
              return text == "change the group of " + path + " to 12345: operation not permitted" &&
                             !fs::exists(path)
                         ? 0
                         : 1;
            }),
            0);
}

TEST_F(listening, leaves_a_socket_alone_that_it_may_not_connect_to) {
  const auto other = listen_unix(path, 0);
  EXPECT_EQ(in_child([&] {
              become_nobody();
              return failure_text([&] { (void)listen_unix(path); }) == "no failure" ? 1 : 0;
            }),
            0);
  EXPECT_TRUE(fs::exists(path));
}

TEST_F(listening, reports_the_limit_of_the_path) {
  const auto longest =
      directory.string() + "/" + std::string(107 - directory.string().size() - 1, 'x');
  const auto listener = listen_unix(longest);
  EXPECT_TRUE(connect(longest));
  const auto refused = [](const std::string& name) {
    return failure_text([&] { (void)listen_unix(name); });
  };
  EXPECT_EQ(refused(longest + "x"),
            "socket " + longest + "x: invalid argument (expected a path of 1 to 107 bytes)");
  EXPECT_EQ(refused(""), "socket : invalid argument (expected a path of 1 to 107 bytes)");
}

TEST_F(listening, reports_a_missing_directory) {
  const auto nowhere = (directory / "no" / "nbd.sock").string();
  EXPECT_EQ(failure_text([&] { (void)listen_unix(nowhere); }),
            "listen on " + nowhere + ": no such file or directory");
}

TEST_F(listening, never_changes_a_file_that_replaces_its_socket) {
  const auto precious = directory / "precious";
  std::ofstream(precious) << "secret";
  fs::permissions(precious, fs::perms(0600));
  const auto link = (directory / "link").string();
  std::atomic<bool> done = false;
  std::thread attacker([&] {
    while (!done) {
      fs::remove(link);
      fs::create_symlink(precious, link);
      struct stat found {};
      while (!done && (::lstat(path.c_str(), &found) != 0 || !S_ISSOCK(found.st_mode))) {
      }
      ::rename(link.c_str(), path.c_str());
    }
  });
  std::set<std::string> problems;
  for (int i = 0; i < 2000; ++i) {
    problems.insert(failure_text([&] { (void)listen_unix(path, 0666, ::getgid()); }));
    fs::remove(path);
  }
  done = true;
  attacker.join();
  struct stat after {};
  ASSERT_EQ(::stat(precious.c_str(), &after), 0);
  EXPECT_EQ(after.st_mode & 07777U, 0600U);
  for (const auto& problem : problems)
    EXPECT_TRUE(problem == "no failure" || problem.starts_with("listen on " + path + ": "))
        << problem;
}

TEST_F(listening, lets_nobody_connect_before_the_group_is_set) {
  // The group cannot be set, so the socket is observed in the state that precedes it.
  EXPECT_EQ(in_child([&] {
              become_nobody();
              std::atomic<bool> done = false;
              std::atomic<bool> admitted = false;
              std::thread observer([&] {
                while (!done) {
                  struct stat found {};
                  if (::lstat(path.c_str(), &found) == 0 && (found.st_mode & 07777U) != 0)
                    admitted = true;
                }
              });
              for (int i = 0; i < 500; ++i)
                (void)failure_text([&] { (void)listen_unix(path, 0666, 12345); });
              done = true;
              observer.join();
              return admitted ? 1 : 0;
            }),
            0);
}

TEST_F(listening, refuses_abstract_sockets_and_says_why) {
  EXPECT_EQ(
      failure_text([&] { (void)listen_unix("@xenpv-test"); }),
      "socket @xenpv-test: invalid argument (an abstract socket has no permissions, so any "
      "local user could connect; use the path of a file, or ./@NAME for a file of that name)");
  EXPECT_FALSE(fs::exists("@xenpv-test"));
  const auto file = (directory / "@name").string();
  const auto listener = listen_unix(file);
  EXPECT_TRUE(connect(file));
}

TEST_F(listening, knows_the_address_of_a_socket) {
  const auto listener = listen_unix(path);
  EXPECT_EQ(local_address_of(listener.get()).kind, peer_address::family::unix_socket);
  const auto tcp = listen_tcp({"127.0.0.1", "0"});
  EXPECT_EQ(to_string(local_address_of(tcp.front().get())), "127.0.0.1:" + port_of(tcp.front()));
  EXPECT_EQ(local_address_of(-1).kind, peer_address::family::other);
}

TEST_F(listening, listens_once_on_an_address_that_a_host_has_twice) {
  const auto hosts = directory / "hosts";
  std::ofstream(hosts) << "127.0.0.1 twice.test\n127.0.0.1 twice.test\n";
  const auto status = in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount(hosts.c_str(), "/etc/hosts", nullptr, MS_BIND, nullptr) != 0)
      return 77;
    return listen_tcp({"twice.test", "0"}).size() == 1 ? 0 : 1;
  });
  if (status == 77) GTEST_SKIP() << "needs permission to mount";
  EXPECT_EQ(status, 0);
}

TEST(parse_vsock_address, accepts_a_port_with_or_without_a_context_id) {
  const std::vector<std::pair<std::string, vsock_address>> table = {
      {"10809", {{}, 10809}},
      {":1", {{}, 1}},
      {"3:10809", {3, 10809}},
      {"0:0", {0, 0}},
      {"4294967294:4294967294", {4294967294, 4294967294}}};
  for (const auto& [text, address] : table) {
    const auto parsed = parse_vsock_address(text);
    ASSERT_TRUE(parsed) << parsed.error().text;
    EXPECT_EQ(*parsed, address) << text;
  }
  for (const std::string text : {"", ":", "3:", "x", "3:x", "x:1", "-1", "4294967295",
                                 "3:4294967295", "4294967295:1", "1:2:3", "any:1", " 1"})
    EXPECT_EQ(parse_vsock_address(text).error().text,
              "vsock address '" + text +
                  "': invalid argument (expected PORT or CID:PORT, both numbers, such as 10809 or "
                  "3:10809)");
}

TEST(listen_vsock, listens_or_explains_that_the_kernel_cannot) {
  std::optional<unique_fd> listener;
  const auto text = failure_text([&] { listener = listen_vsock({{}, 0}); });
  if (!listener) {
    EXPECT_EQ(text,
              "listen on vsock port 0: not available here (this kernel does not support vsock; Xen "
              "guests normally have none, so use --tcp)");
    GTEST_SKIP() << text;
  }
  const auto address = local_address_of(listener->get());
  EXPECT_EQ(address.kind, peer_address::family::vsock);
  EXPECT_GT(address.port, 0U);
  EXPECT_EQ(to_string(address),
            "vsock:" + std::to_string(VMADDR_CID_ANY) + ":" + port_of(*listener));
  EXPECT_EQ(failure_text([&] {
              (void)listen_vsock({{}, address.port});
            }),
            "listen on vsock port " + port_of(*listener) + ": address already in use");
  EXPECT_EQ(
      failure_text([&] {
        (void)listen_vsock({1234567, 1});
      }),
      "listen on vsock:1234567:1: cannot assign requested address (this machine does not have "
      "that context ID)");
}

TEST(listen_tcp, listens_on_each_address_of_a_name_at_one_port) {
  const auto all = listen_tcp({"", "0"});
  EXPECT_NE(port_of(all.front()), "0");
  for (const auto& listener : all) {
    EXPECT_EQ(port_of(listener), port_of(all.front()));
    int is_listening = 0;
    socklen_t size = sizeof is_listening;
    ASSERT_EQ(::getsockopt(listener.get(), SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size), 0);
    EXPECT_EQ(is_listening, 1);
  }
  EXPECT_EQ(listen_tcp({"127.0.0.1", "0"}).size(), 1U);
}

/// Makes IPv6 sockets fail, as on a kernel without IPv6. Call it in a child process.
void disable_ipv6() {
  const auto fail = static_cast<unsigned>(SECCOMP_RET_ERRNO) | EAFNOSUPPORT;
  std::array<sock_filter, 6> filter = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_socket, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[0])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, fail),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
    throw_errno("disable IPv6");
}

TEST(listen_tcp, skips_a_protocol_that_the_machine_lacks) {
  EXPECT_EQ(in_child([] {
              disable_ipv6();
              if (listen_tcp({"", "0"}).size() != 1) return 1;
              const auto text = failure_text([] { (void)listen_tcp({"::1", "0"}); });
              return text == "listen on ::1:0: address family not supported by protocol" ? 0 : 2;
            }),
            0);
}

TEST(listen_tcp, explains_why_it_cannot_use_an_address) {
  const auto refused = [](tcp_address address) {
    return failure_text([&] { (void)listen_tcp(address); });
  };
  EXPECT_EQ(refused({"192.0.2.1", "10809"}),
            "listen on 192.0.2.1:10809: cannot assign requested address");
  const auto taken = listen_tcp({"127.0.0.1", "0"});
  const auto port = port_of(taken.front());
  EXPECT_EQ(refused({"127.0.0.1", port}),
            "listen on 127.0.0.1:" + port + ": address already in use");
}

void announce(pid_t process, const char* count) {
  ::setenv("LISTEN_PID", std::to_string(process).c_str(), 1);
  ::setenv("LISTEN_FDS", count, 1);
  ::setenv("LISTEN_FDNAMES", "nbd", 1);
}

class inherited : public listening {
 protected:
  /// Moves two listeners to the file descriptors that a service manager uses. Call it in a child
  /// process.
  void put_listeners() const {
    auto first = listen_unix(path);
    auto second = listen_tcp({"127.0.0.1", "0"}).front().release();
    const auto moved = ::fcntl(second, F_DUPFD, 20);
    ::dup2(::fcntl(first.get(), F_DUPFD, 20), 3);
    ::dup2(moved, 4);
    if (first.get() == 3 || first.get() == 4) (void)first.release();
  }
};

TEST_F(inherited, takes_the_sockets_passed_to_this_process) {
  EXPECT_EQ(in_child([&] {
              put_listeners();
              announce(::getpid(), "2");
              const auto listeners = inherited_listeners();
              if (listeners.size() != 2) return 1;
              if (listeners[0].get() != 3 || listeners[1].get() != 4) return 2;
              if ((::fcntl(3, F_GETFD) & FD_CLOEXEC) == 0) return 3;
              for (const auto* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
                if (std::getenv(name) != nullptr) return 4;
              if (!inherited_listeners().empty()) return 5;
              return connect(path) ? 0 : 6;
            }),
            0);
}

TEST_F(inherited, leaves_the_sockets_of_another_process_alone) {
  EXPECT_EQ(in_child([&] {
              put_listeners();
              announce(::getppid(), "2");
              return inherited_listeners().empty() && ::fcntl(3, F_GETFD) == 0 ? 0 : 1;
            }),
            0);
}

TEST_F(inherited, takes_none_without_a_valid_count) {
  for (const char* const count : {"", "x", "-1", "65", "2x"}) {
    EXPECT_EQ(in_child([&] {
                announce(::getpid(), count);
                return inherited_listeners().empty() ? 0 : 1;
              }),
              0)
        << count;
  }
}

TEST_F(inherited, refuses_descriptors_that_are_not_listening_sockets) {
  const auto refused = [&](std::function<void()> prepare) {
    return in_child([&] {
      prepare();
      announce(::getpid(), "1");
      const auto text = failure_text([] { (void)inherited_listeners(); });
      std::ofstream(directory / "text") << text;
      return 0;
    });
  };
  const auto message = [&] {
    std::ifstream in(directory / "text");
    std::string line;
    std::getline(in, line);
    return line;
  };
  const std::string expected =
      "use descriptor 3 from LISTEN_FDS: invalid argument (it is not a listening stream socket)";
  EXPECT_EQ(refused([] { ::close(3); }), 0);
  EXPECT_EQ(message(), expected);
  EXPECT_EQ(refused([] { ::dup2(::open("/dev/null", O_RDONLY), 3); }), 0);
  EXPECT_EQ(message(), expected);
  EXPECT_EQ(refused([] { ::dup2(::socket(AF_UNIX, SOCK_STREAM, 0), 3); }), 0);
  EXPECT_EQ(message(), expected);
}

}  // namespace
}  // namespace xenpv::nbd
