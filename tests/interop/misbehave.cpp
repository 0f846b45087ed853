// A part of the test build of xenpv-disk: simulates the attempts of an attacker who executes code
// in the server, and reports the errno. Each attempt is a system call or two, without precautions.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <functional>
#include <map>
#include <string>

#include "cli/json.hpp"

namespace xenpv::disk_app {
namespace {

int connect_to(const std::string& path) {
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (socket < 0) return -1;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  const int result = ::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int problem = errno;
  ::close(socket);
  errno = problem;
  return result;
}

int read_memory(pid_t process) {
  char byte = 0;
  iovec here{&byte, 1};
  iovec there{reinterpret_cast<void*>(0x400000), 1};
  return static_cast<int>(::process_vm_readv(process, &here, 1, &there, 1, 0));
}

int execute(const std::string& path) {
  char* const none[] = {nullptr};
  return ::execve(path.c_str(), none, none);
}

int write_file(const std::string& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  if (file >= 0) ::close(file);
  return file;
}

int read_file(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY);
  if (file < 0) return -1;
  char byte = 0;
  const auto size = ::read(file, &byte, 1);
  ::close(file);
  return size < 0 ? -1 : 0;
}

/// Lets the kernel send SIGKILL to the process when a pipe becomes readable.
long kill_by_input(pid_t process) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return -1;
  const int flags = ::fcntl(ends[0], F_GETFL);
  const bool armed = ::fcntl(ends[0], F_SETOWN, process) == 0 &&
                     ::fcntl(ends[0], F_SETSIG, SIGKILL) == 0 &&
                     ::fcntl(ends[0], F_SETFL, flags | O_ASYNC) == 0;
  const int problem = errno;
  if (armed) static_cast<void>(!::write(ends[1], "x", 1));
  ::close(ends[0]);
  ::close(ends[1]);
  errno = problem;
  return armed ? 0 : -1;
}

int move_to_first_cpu(pid_t process) {
  cpu_set_t first;
  CPU_ZERO(&first);
  CPU_SET(0, &first);
  return ::sched_setaffinity(process, sizeof first, &first);
}

int map_executable() {
  void* const page =
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return page == MAP_FAILED ? -1 : 0;
}

}  // namespace

/// Requests: {"command": "misbehave", "deed": "...", "path": "...", "process": N}. The answer is
/// {"errno": N}, 0 if the deed succeeded.
cli::json misbehave(const cli::json& request);
cli::json misbehave(const cli::json& request) {
  const auto path = request.value("path", std::string());
  const auto process = request.value("process", pid_t{0});
  const std::map<std::string, std::function<long()>> deeds = {
      {"read", [&] { return read_file(path); }},
      {"write", [&] { return write_file(path); }},
      {"remove", [&] { return ::unlink(path.c_str()); }},
      {"connect", [&] { return connect_to(path); }},
      {"execute", [&] { return execute(path); }},
      {"kill", [&] { return ::kill(process, SIGKILL); }},
      {"kill by input", [&] { return kill_by_input(process); }},
      {"set priority", [&] { return ::setpriority(PRIO_PROCESS, static_cast<id_t>(process), 19); }},
      {"move", [&] { return move_to_first_cpu(process); }},
      {"trace", [&] { return ::ptrace(PTRACE_ATTACH, process, nullptr, nullptr); }},
      {"read memory", [&] { return read_memory(process); }},
      {"become root", [&] { return ::setresuid(0, 0, 0); }},
      {"use the network", [&] { return ::socket(AF_INET, SOCK_STREAM, 0); }},
      {"map executable memory", [&] { return map_executable(); }},
      {"fork", [&] { return ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr); }},
      {"mount", [&] { return ::syscall(SYS_mount, "none", "/", "tmpfs", 0UL, nullptr); }},
  };
  const auto found = deeds.find(request.value("deed", std::string()));
  if (found == deeds.end()) return {{"error", "unknown deed"}};
  const auto result = found->second();
  return {{"errno", result < 0 ? errno : 0}};
}

}  // namespace xenpv::disk_app
