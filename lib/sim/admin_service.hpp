// The admin socket, in the host's directory. Requests and replies are JSON objects, one per line. A
// request is {"command": ...}; a reply is {"ok": true, ...} or {"ok": false, "error": "..."}. Used
// only on the host thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "sim/host.hpp"
#include "sim/reactor.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

struct host::admin_service {
 public:
  admin_service(host& owner, reactor& loop, const std::filesystem::path& path);
  ~admin_service();
  admin_service(const admin_service&) = delete;
  admin_service& operator=(const admin_service&) = delete;

 private:
  struct client {
    unique_fd socket;
    std::string line;
  };
  void accept();
  void readable(int fd);
  /// Executes one request. Replies to a save or checkpoint when the domain runs again.
  void serve(const std::shared_ptr<client>& peer, const std::string& line);

  host& host_;
  reactor& reactor_;
  unique_fd listener_;
  std::map<int, std::shared_ptr<client>> clients_;
};

/// Sends `request` (a JSON object) to the host running in `directory` and returns the reply (a JSON
/// object). Throws `failure` if no host is running or if the host rejects the request.
[[nodiscard]] std::string ask_host(const std::filesystem::path& directory,
                                   const std::string& request);
/// Finds a domain of the host running in `directory` by its name or ID. Throws `failure` like
/// ask_host().
[[nodiscard]] domain_identity find_domain(const std::filesystem::path& directory,
                                          const std::string& name_or_id);
/// Returns the directory of a domain, for domain_environment(). `directory` is the host's
/// directory. Throws `failure` like ask_host().
[[nodiscard]] std::filesystem::path ask_domain_directory(const std::filesystem::path& directory,
                                                         domid domain);
/// Waits until the external backends of all guests have announced their disks. Throws `failure`
/// like ask_host(), or with the end of a backend's log if a backend has failed.
void await_backends(const std::filesystem::path& directory);
/// Kills and restarts the external backend of a disk, and waits like await_backends().
void restart_backend(const std::filesystem::path& directory, domid domain, std::uint32_t device);
/// Whether a host that this user may control is running in `directory`.
[[nodiscard]] bool is_running(const std::filesystem::path& directory);
/// Stops the host and waits until its process has exited.
void stop_host(const std::filesystem::path& directory);

}  // namespace xenpv::sim
