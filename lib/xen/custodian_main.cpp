// xenpv-custodian: the custodian of another program. Not for interactive use: the program that
// starts xenpv-custodian passes it a socket.
//
// Needs no privileges once it runs: its descriptors are open, and it may open xenstore as root's
// user, which it keeps so that systemd spares it at shutdown. So it drops all capabilities and
// confines itself to the files and system calls of a cleanup.
#include "xen/custodian_main.hpp"

#include <pthread.h>
#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <vector>

#include "sandbox/call_filter.hpp"
#include "sandbox/landlock.hpp"
#include "sandbox/privileges.hpp"
#include "xen/custodian_process.hpp"
#include "xenpv/base/standard_streams.hpp"

namespace xenpv::xen {
namespace {

using sandbox::file_rights;
using sandbox::filter_mode;

struct custodian_arguments {
  custodian_memory memory = custodian_memory::pageable;
  filter_mode mode = sandbox::default_mode;
};

custodian_arguments parse(const std::vector<std::string_view>& words) {
  custodian_arguments out;
  for (auto word : words) {
    if (word == lock_memory_argument) out.memory = custodian_memory::locked;
    if (!word.starts_with(sandbox_argument)) continue;
    word.remove_prefix(std::string_view(sandbox_argument).size());
    if (word == "off") out.mode = filter_mode::off;
    if (word == "log") out.mode = filter_mode::log;
  }
  return out;
}

/// xenstore, and the files of a simulated host.
std::vector<sandbox::path_rule> files_of_a_cleanup() {
  constexpr auto use = file_rights::read | file_rights::write;
  std::vector<sandbox::path_rule> out = {{"/dev/null", use}, {"/proc", file_rights::read}};
  // A simulated guest has no device files; libxensim.so intercepts the calls that open them.
  if (std::getenv("XENPV_SIM_DIR") == nullptr)
    out.insert(out.end(), {{"/dev/xen/xenbus", use}, {"/proc/xen/xenbus", use}});
  for (const auto* const variable : {"XENSTORED_RUNDIR", "XENPV_SIM_DIR", "XENPV_ROOT"})
    if (const auto* const path = std::getenv(variable)) out.push_back({path, use});
  return out;
}

sandbox::call_policy calls_of_a_cleanup() {
  using namespace sandbox;
  auto out = runtime_calls();
  // libxenstore starts a reader thread.
  out.add(thread_calls()).add(descriptor_calls()).add(waiting_calls());
  out.add(socket_calls()).add(open_calls());
  out.allow_socket(AF_UNIX).allow("connect");  // xenstored, the log daemon
  return out;
}

void shrink_thread_stacks() {
  // In locked memory, the stack of a thread occupies its full size.
  constexpr std::size_t size = std::size_t{256} << 10U;
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, size);
  ::pthread_setattr_default_np(&attributes);
  ::pthread_attr_destroy(&attributes);
}

}  // namespace

int custodian_main(int argc, char** argv) {
  open_standard_streams();
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(custodian_socket, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
      type != SOCK_SEQPACKET) {
    std::fputs("xenpv-custodian: only xenpv programs can start it\n", stderr);
    return 2;
  }
  const auto arguments = parse({argv + 1, argv + argc});
  std::optional<sandbox::call_filter> filter;
  const auto confine = [&] {
    if (sandbox::is_sanitized && arguments.mode == filter_mode::off) return;
    sandbox::hide_memory();
    shrink_thread_stacks();
    sandbox::drop_privileges(std::nullopt);
    if (arguments.mode == filter_mode::off) return;
    if (arguments.mode == filter_mode::on) sandbox::restrict_files(files_of_a_cleanup());
    filter.emplace(calls_of_a_cleanup(), arguments.mode);
  };
  run_as_custodian(unique_fd(custodian_socket), arguments.memory, confine);
}

}  // namespace xenpv::xen
