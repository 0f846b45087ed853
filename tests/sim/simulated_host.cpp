#include "simulated_host.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "sim/admin_service.hpp"
#include "sim/launch.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim {

actor_process::actor_process(const std::filesystem::path& domain_directory,
                             const std::string& program) {
  int to_child[2];
  int from_child[2];
  if (::pipe2(to_child, O_CLOEXEC) != 0 || ::pipe2(from_child, O_CLOEXEC) != 0)
    throw_errno("make pipes for an actor");
  const auto environment = domain_environment(domain_directory);
  process_ = ::fork();
  if (process_ < 0) throw_errno("fork an actor");
  if (process_ == 0) {
    ::dup2(to_child[0], 0);
    ::dup2(from_child[1], 1);
    for (const auto& [name, value] : environment)
      ::setenv(name.c_str(), value.c_str(), 1);
    ::execl(program.c_str(), program.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(to_child[0]);
  ::close(from_child[1]);
  commands_.reset(to_child[1]);
  answers_.reset(from_child[0]);
}

actor_process::~actor_process() {
  if (process_ > 0) kill(SIGKILL);
}

std::string actor_process::ask(const std::string& command) {
  const auto line = command + "\n";
  if (::write(commands_.get(), line.data(), line.size()) < 0) return "dead";
  while (unread_.find('\n') == std::string::npos) {
    char bytes[256];
    const auto got = ::read(answers_.get(), bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return "dead";
    unread_.append(bytes, static_cast<std::size_t>(got));
  }
  const auto end = unread_.find('\n');
  auto answer = unread_.substr(0, end);
  unread_.erase(0, end + 1);
  if (answer == "ok") return "";
  return answer.starts_with("ok ") ? answer.substr(3) : answer;
}

std::uint32_t actor_process::ask_number(const std::string& command) {
  const auto answer = ask(command);
  if (answer.empty() || answer.find_first_not_of("0123456789") != std::string::npos)
    throw failure(errc::invalid_argument, command + ": " + answer);
  return static_cast<std::uint32_t>(std::stoul(answer));
}

int actor_process::wait() {
  int status = 0;
  while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) {
  }
  process_ = -1;
  return status;
}

int actor_process::exit() {
  const std::string line = "exit\n";
  if (::write(commands_.get(), line.data(), line.size()) < 0) ::kill(process_, SIGKILL);
  return wait();
}

int actor_process::kill(int signal) {
  // kill(-1) would signal every process.
  if (process_ <= 0) throw failure(errc::invalid_argument, "kill an actor that has ended");
  ::kill(process_, signal);
  return wait();
}

simulated_host::simulated_host(host_options options)
    : host_([&] {
        std::signal(SIGPIPE, SIG_IGN);
        return host_process::start(std::move(options));
      }()) {}

nlohmann::json simulated_host::ask(const nlohmann::json& request) {
  return nlohmann::json::parse(ask_host(host_.directory(), request.dump()));
}

std::filesystem::path simulated_host::directory_of(unsigned domain) {
  return ask_domain_directory(host_.directory(), domid{static_cast<std::uint16_t>(domain)});
}

std::unique_ptr<actor_process> simulated_host::actor(unsigned domain) {
  return std::make_unique<actor_process>(directory_of(domain), XENPV_TEST_ACTOR);
}

nlohmann::json simulated_host::domain(unsigned number) {
  const auto current = status();
  for (const auto& entry : current.at("domains"))
    if (entry.at("domid") == number) return entry;
  return nullptr;
}

unsigned simulated_host::save_restore(unsigned domain, bool keep,
                                      std::chrono::milliseconds frozen) {
  return ask({{"command", "save-restore"},
              {"domid", domain},
              {"keep", keep},
              {"frozen_ms", frozen.count()}})
      .at("domid")
      .get<unsigned>();
}

void simulated_host::fault(const std::string& spec) {
  nlohmann::json request{{"command", "fault"}};
  request["specs"] = nlohmann::json::array({spec});
  ask(request);
}

bool simulated_host::eventually(const std::function<bool(const nlohmann::json&)>& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!done(status())) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    // Only a polling interval: no result depends on its length.
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace xenpv::sim
