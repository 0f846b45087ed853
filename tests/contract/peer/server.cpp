#include "contract/peer/server.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>

#include "contract/peer/worker.hpp"
#include "contract/store_session.hpp"

namespace xenpv::contract {

namespace {

constexpr int worker_failed = 1;

/// Executes commands until one ends the process (see worker.hpp) or the guest is destroyed.
int work(std::uint32_t domain) try {
  const std::string home = "/local/domain/" + std::to_string(domain) + '/';
  const auto command_path = home + std::string(peer_command_node);
  const auto reply_path = home + std::string(peer_reply_node);
  const store_session store;
  if (!xs_is_domain_introduced(store.get(), domain)) {
    std::fprintf(stderr, "contract_tests: peer: domain %u does not exist\n", domain);
    return worker_failed;
  }
  peer_worker worker(domain);
  const auto publish = [&](const peer_reply& reply) { store.write(reply_path, to_text(reply)); };
  store.watch(command_path, "command");
  while (xs_is_domain_introduced(store.get(), domain)) {
    const auto command = parse_command(store.read(command_path).value_or(""));
    const auto answered = parse_reply(store.read(reply_path).value_or("")).id;
    if (!command.id.empty() && command.id != answered) worker.execute(command, publish);
    static_cast<void>(store.take_event(std::chrono::milliseconds(1000)));
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "contract_tests: peer: %s\n", error.what());
  return worker_failed;
}

}  // namespace

int serve_peer(std::uint32_t domain) {
  for (;;) {
    const pid_t child = ::fork();
    if (child < 0) {
      std::perror("contract_tests: peer: fork");
      return worker_failed;
    }
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::_exit(work(domain));
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR)
      continue;
    if (!WIFEXITED(status)) return worker_failed;
    if (WEXITSTATUS(status) != exit_requested) return WEXITSTATUS(status);
  }
}

}  // namespace xenpv::contract
