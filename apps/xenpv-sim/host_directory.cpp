#include "host_directory.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/shell_quote.hpp"
#include "cli/value.hpp"
#include "sim/admin_service.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim_app {
namespace {

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// Independent of TMPDIR, which may differ between terminals.
std::filesystem::path default_path() {
  if (const auto top = environment("XDG_RUNTIME_DIR"); top.starts_with('/'))
    return std::filesystem::path(top) / "xenpv-sim";
  return fmt::format("/tmp/xenpv-sim-{}", ::geteuid());
}

/// Another user could have created the directory in /tmp and be running a host there.
std::filesystem::path safe_default_path() {
  auto path = default_path();
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) return path;
  if (S_ISDIR(found.st_mode) && found.st_uid == ::geteuid()) return path;
  throw_errno(EPERM, fmt::format("use the default directory {}", path.string()),
              "it is not a directory of this user; choose one with --dir DIR");
}

}  // namespace

cli::command& add_directory_option(cli::command& command, std::string& directory) {
  return command.option("--dir DIR", directory,
                        "directory of the host (default: $XDG_RUNTIME_DIR/xenpv-sim or "
                        "/tmp/xenpv-sim-UID; in a domain, its own host)",
                        cli::as_text);
}

std::filesystem::path running_host(const std::string& given) {
  if (!given.empty()) return given;
  // The directory of the domain in which this process runs, in the directory of its host.
  if (const auto domain = environment("XENPV_SIM_DIR"); !domain.empty())
    return std::filesystem::path(domain).parent_path();
  return safe_default_path();
}

std::filesystem::path new_host(const std::string& given) {
  auto directory =
      given.empty() ? safe_default_path() : std::filesystem::absolute(std::filesystem::path(given));
  if (sim::is_running(directory))
    throw failure(errc::invalid_argument, fmt::format("start a host in {}", directory.string()),
                  fmt::format("a host is running there; stop it with `{}`, or choose another "
                              "directory with --dir",
                              command_for_host("stop", given)));
  return directory;
}

void remove_default_directory(const std::filesystem::path& directory) noexcept {
  std::error_code ignored;
  if (directory == default_path()) std::filesystem::remove(directory, ignored);
}

std::string command_for_host(std::string_view command, const std::string& given) {
  return given.empty() ? fmt::format("xenpv-sim {}", command)
                       : fmt::format("xenpv-sim {} --dir {}", command, shell_quote(given));
}

xen::store open_domain_0_store(const std::filesystem::path& directory) {
  const auto domain = sim::ask_domain_directory(directory, domid_0);
  ::setenv("XENSTORED_PATH", (domain / "xenstored").c_str(), 1);
  return xen::store::open();
}

std::vector<cli::completion_word> list_domains() {
  const auto status =
      nlohmann::json::parse(sim::ask_host(running_host(""), R"({"command":"status"})"));
  std::vector<cli::completion_word> out;
  for (const auto& domain : status.at("domains"))
    out.push_back({domain.at("name").get<std::string>(),
                   fmt::format("domain {}", domain.at("domid").get<unsigned>())});
  return out;
}

}  // namespace xenpv::sim_app
