// The host's admin socket: one JSON object a line in ({"command": ...}), one a line out ({"ok":
// true, ...} or
// {"ok": false, "error": "..."}). Local to the host's folder; owned by the host's thread.
#pragma once

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
  [[nodiscard]] std::string answer(const std::string& line);

  host& host_;
  reactor& reactor_;
  unique_fd listener_;
  std::map<int, client> clients_;
};

/// One command to a running host: sends `request` (a JSON object) to DIR/admin and returns the
/// answer's JSON object. Throws `failure` with the host's own words when it says no, or when no
/// host runs there.
[[nodiscard]] std::string ask_host(const std::filesystem::path& directory,
                                   const std::string& request);
/// Folder of a domain of the host in `directory`: what launch.hpp needs. Throws `failure` as
/// ask_host.
[[nodiscard]] std::filesystem::path ask_domain_directory(const std::filesystem::path& directory,
                                                         domid domain);
/// Asks the host to stop and returns when its process has gone.
void stop_host(const std::filesystem::path& directory);

}  // namespace xenpv::sim
