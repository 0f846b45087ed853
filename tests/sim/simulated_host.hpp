// A simulated host with actors (actor.cpp) in its domains, for tests that stand outside and look
// in.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "sim/host_process.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

/// A child process that is talked to in lines. Killed and reaped by the destructor.
class actor_process {
 public:
  actor_process(const std::filesystem::path& domain_directory, const std::string& program);
  ~actor_process();
  actor_process(const actor_process&) = delete;
  actor_process& operator=(const actor_process&) = delete;

  /// Sends one command and returns the answer without "ok ". An answer that starts with "error"
  /// comes back whole; a process that died instead of answering gives "dead".
  std::string ask(const std::string& command);
  [[nodiscard]] std::uint32_t ask_number(const std::string& command);
  /// Each returns waitpid's status.
  int exit();
  int kill(int signal);
  int wait();

  [[nodiscard]] pid_t process() const noexcept { return process_; }

 private:
  pid_t process_ = -1;
  unique_fd commands_;
  unique_fd answers_;
  std::string unread_;
};

class simulated_host {
 public:
  explicit simulated_host(host_options options = {});

  [[nodiscard]] std::unique_ptr<actor_process> actor(unsigned domain);
  nlohmann::json ask(const nlohmann::json& request);
  [[nodiscard]] nlohmann::json status() { return ask({{"command", "status"}}); }
  /// The entry of `status` for a domain; null when it is not there.
  [[nodiscard]] nlohmann::json domain(unsigned number);
  /// Returns the domain's new number.
  unsigned save_restore(unsigned domain, bool keep = false);
  void fault(const std::string& spec);
  [[nodiscard]] std::filesystem::path directory_of(unsigned domain);
  /// Asks until `done` holds of the status, for what follows a process's death; at most 10 s.
  [[nodiscard]] bool eventually(const std::function<bool(const nlohmann::json&)>& done);

 private:
  host_process host_;
};

}  // namespace xenpv::sim
