// A simulated host with actors (actor.cpp) in its domains, for tests that run outside the domains.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "sim/host_process.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

/// A child process with a line protocol. The destructor kills and reaps the process.
class actor_process {
 public:
  actor_process(const std::filesystem::path& domain_directory, const std::string& program);
  ~actor_process();
  actor_process(const actor_process&) = delete;
  actor_process& operator=(const actor_process&) = delete;

  /// Sends one command and returns the reply without "ok ". A reply that starts with "error" is
  /// returned unchanged. Returns "dead" if the process died without replying.
  std::string ask(const std::string& command);
  [[nodiscard]] std::uint32_t ask_number(const std::string& command);
  /// Each of these ends or awaits the process and returns its waitpid(2) status.
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
  /// Returns the domain's entry in the status, or null if there is none.
  [[nodiscard]] nlohmann::json domain(unsigned number);
  /// Returns the new domain ID.
  unsigned save_restore(unsigned domain, bool keep = false, std::chrono::milliseconds frozen = {});
  void fault(const std::string& spec);
  [[nodiscard]] std::filesystem::path directory_of(unsigned domain);
  /// Polls the status until `done` returns true; returns false after 10 s. Use it for the effects
  /// of a process exit, which the host detects asynchronously.
  [[nodiscard]] bool eventually(const std::function<bool(const nlohmann::json&)>& done);

 private:
  host_process host_;
};

}  // namespace xenpv::sim
