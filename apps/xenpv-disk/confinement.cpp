#include "confinement.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <utility>

#include "base/log_output.hpp"
#include "cli/value.hpp"
#include "hang_up.hpp"
#include "nbd_delegate.hpp"
#include "root_operations.hpp"
#include "sandbox/landlock.hpp"
#include "sandbox/privileges.hpp"
#include "sandbox/root_helper.hpp"
#include "server_policy.hpp"
#include "ublk_delegate.hpp"
#include "xen/custodian_link.hpp"
#include "xenpv/async/irq_affinity.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::disk_app {
namespace {

using sandbox::file_rights;
using sandbox::filter_mode;
using sandbox::helper_operation;
using sandbox::helper_request;

constexpr auto default_user = "xenpv";
/// How long to wait for the reader of the log.
constexpr std::chrono::milliseconds log_limit(250);
constexpr std::array device_nodes = {"/dev/xen/evtchn", "/dev/xen/gntalloc", "/dev/xen/xenbus"};

bool may_use(const sandbox::user& user, const struct stat& status) {
  const auto permits = [&](mode_t read, mode_t write) {
    return (status.st_mode & read) != 0 && (status.st_mode & write) != 0;
  };
  if (status.st_uid == user.uid) return permits(S_IRUSR, S_IWUSR);
  if (std::ranges::find(user.groups, status.st_gid) != user.groups.end())
    return permits(S_IRGRP, S_IWGRP);
  return permits(S_IROTH, S_IWOTH);
}

/// The device that the user cannot open again after a resume; empty if there is none.
std::string inaccessible_device(const sandbox::user& user) {
  for (const auto* const path : device_nodes) {
    struct stat status {};
    if (::stat(path, &status) == 0 && !may_use(user, status)) return path;
  }
  return {};
}

sandbox::user require_user(const std::string& name) {
  auto found = sandbox::find_user(name);
  if (!found)
    throw failure(errc::invalid_argument, fmt::format("run as user '{}'", name), "no such user");
  if (::geteuid() != 0 && found->uid != ::geteuid())
    throw failure(std::make_error_code(std::errc::operation_not_permitted),
                  fmt::format("run as user '{}'", name), "only root can change the user");
  const auto device = inaccessible_device(*found);
  if (!device.empty())
    throw failure(std::make_error_code(std::errc::permission_denied),
                  fmt::format("run as user '{}'", name),
                  fmt::format("it cannot use {}; install the udev rule of xenpv, or use --user "
                              "root",
                              device));
  return *std::move(found);
}

/// The user of a server after its start.
struct identity {
  std::optional<sandbox::user> user;  ///< unset: the present one
  std::string why_root;               ///< why root's server keeps its user; empty: not reported
};

identity choose_identity(const std::string& name) {
  if (name == "root" && ::geteuid() == 0) return {};
  if (!name.empty()) return {require_user(name), {}};
  if (::geteuid() != 0) return {};
  auto found = sandbox::find_user(default_user);
  if (!found) return {std::nullopt, fmt::format("there is no user '{}'", default_user)};
  // A container may have root's user ID without these.
  const auto held = sandbox::read_privileges().front().effective;
  if (!held.has(CAP_SETUID) || !held.has(CAP_SETGID))
    return {std::nullopt, "it cannot change its user without CAP_SETUID and CAP_SETGID"};
  const auto device = inaccessible_device(*found);
  if (device.empty()) return {std::move(found), {}};
  return {std::nullopt, fmt::format("user '{}' cannot use {}; install the udev rule of xenpv",
                                    default_user, device)};
}

helper_request request_for(helper_operation operation, std::string_view text = {}) {
  helper_request out;
  out.operation = operation;
  out.set_text(text);
  return out;
}

/// The files that a reload reads: `path` itself, or the TLS files of a directory.
std::vector<std::filesystem::path> files_of_a_reload(const std::filesystem::path& path) {
  std::error_code code;
  if (!std::filesystem::is_directory(path, code)) return {path};
  std::vector<std::filesystem::path> out;
  for (const auto* const name : {"server-cert.pem", "server-key.pem", "ca-cert.pem", "ca-crl.pem"})
    if (std::filesystem::exists(path / name, code)) out.push_back(path / name);
  return out;
}

/// A dedicated directory is readable as a whole, so that its files may be replaced. In a shared
/// directory, only the individual files are readable: rules refer to inodes.
std::filesystem::path readable_part(const std::string& path) {
  std::error_code code;
  auto absolute = std::filesystem::weakly_canonical(path, code);
  if (code || std::filesystem::is_directory(absolute, code)) return absolute;
  auto parent = absolute.parent_path();
  const auto depth = std::distance(parent.begin(), parent.end());  // counts the root directory
  const bool is_home = depth == 3 && *std::next(parent.begin()) == "home";
  return depth > 2 && !is_home ? parent : absolute;
}

std::vector<sandbox::path_rule> files_of_a_server(const std::vector<std::string>& readable) {
  constexpr auto use = file_rights::read | file_rights::write;
  std::vector<sandbox::path_rule> out = {{"/dev/xen", use},           {"/proc/xen", use},
                                         {"/dev/null", use},          {"/proc", file_rights::read},
                                         {"/sys", file_rights::read}, {"/run/xenstored", use},
                                         {"/dev/vsock", use}};
  for (const auto* const variable : {"XENSTORED_RUNDIR", "XENPV_SIM_DIR", "XENPV_ROOT"})
    if (const auto* const path = std::getenv(variable)) out.push_back({path, use});
  // The server opens it to detect that the terminal has been closed.
  if (was_started_from_terminal()) out.push_back({"/dev/tty", use});
  for (const auto& path : readable) {
    out.push_back({readable_part(path), file_rights::read});
    // These files may be symbolic links to another directory, as certificate clients create them
    // (live/ to archive/).
    for (const auto& file : files_of_a_reload(path))
      out.push_back({readable_part(file), file_rights::read});
  }
  return out;
}

std::string name_of_group(const sandbox::user& user) {
  return sandbox::find_group(user.name) == user.gid ? user.name : std::to_string(user.gid);
}

/// Returns the shell commands that give `group` access to the first inaccessible directory above
/// `file`, or else to `file` itself.
std::string remedy_for(const std::filesystem::path& file, const std::string& group) {
  std::filesystem::path directory;
  for (const auto& part : file.parent_path()) {
    directory /= part;
    if (::access(directory.c_str(), X_OK) != 0)
      return fmt::format("chgrp {0} {1}; chmod g+x {1}", group, directory.string());
  }
  return fmt::format("chgrp {0} {1}; chmod 640 {1}", group, file.string());
}

/// After the drop: warns about each file that a reload would fail to read.
void warn_about_unreadable(const std::vector<std::filesystem::path>& files, const std::string& user,
                           const std::string& group) {
  for (const auto& file : files) {
    const unique_fd opened(::open(file.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (opened || errno == ENOENT) continue;
    log().warn("a reload cannot read {} as user {} ({})", file.string(), user,
               remedy_for(file, group));
  }
}

/// The running server's confinement. Atomic because remove_server_file() reads it in destructors.
std::atomic<confinement*> active = nullptr;

}  // namespace

class confinement::state {
 public:
  state(const confinement_options& options, confinement_needs needs)
      : mode_(options.mode.value_or(sandbox::default_mode)),
        needs_(needs),
        identity_(choose_identity(options.user)),
        program_(xen::custodian_program::find()),
        guest_(start_guest_helper(std::string(to_string(mode_)), needs.swap)) {
    if (needs.kernel_device) device_ = start_device_helper(needs.swap);
    program_.set_sandbox(std::string(to_string(mode_)));
  }

  filter_mode mode_;
  confinement_needs needs_;
  identity identity_;
  xen::custodian_program program_;
  std::unique_ptr<sandbox::root_helper> guest_;
  std::shared_ptr<sandbox::root_helper> device_;
  std::vector<std::string> disks_;
  std::vector<std::string> readable_;
  std::vector<std::string> removed_;
  bool is_applied_ = false;
  std::optional<sandbox::call_filter> filter_;
};

confinement::confinement(const confinement_options& options, confinement_needs needs)
    : state_(std::make_unique<state>(options, needs)) {
  async::set_irq_mover([this](unsigned irq, unsigned cpu) {
    helper_request request;
    request.operation = helper_operation::set_irq_affinity;
    request.numbers = {irq, cpu};
    try {
      return static_cast<int>(state_->guest_->ask(request).value);
    } catch (const failure& problem) {
      log().warn("{}", problem.what());
      return problem.code().category() == category() ? EIO : problem.code().value();
    }
  });
  active = this;
}

confinement::~confinement() {
  active = nullptr;
  async::set_irq_mover({});
}

xen::custodian_starter confinement::custodian_starter() {
  return [this]() -> xen::started_custodian {
    if (!state_->is_applied_) return xen::execute_custodian(state_->program_);
    auto outcome = state_->guest_->ask(request_for(helper_operation::start_custodian));
    return {std::move(outcome.descriptor), static_cast<pid_t>(outcome.value)};
  };
}

void confinement::add_disk(std::uint32_t number, const std::string& name) {
  auto request = request_for(helper_operation::add_disk, name);
  request.numbers[0] = number;
  state_->guest_->ask(request);
  state_->disks_.push_back(name);
}

void confinement::add_readable(const std::string& path) {
  if (!path.empty()) state_->readable_.push_back(path);
}

void confinement::add_removed(const std::string& path) {
  const auto absolute = std::filesystem::absolute(path).lexically_normal().string();
  state_->guest_->ask(request_for(helper_operation::add_file, absolute));
  state_->removed_.push_back(absolute);
}

void confinement::use_device(const confined_device& device) {
  auto request = request_for(helper_operation::use_device, device.identifier);
  request.numbers[0] = device.index ? *device.index : sandbox::any_device;
  request.numbers[1] = device.is_connected ? 1 : 0;
  state_->device_->ask(request);
}

void confinement::use_ublk_device(std::uint32_t index, std::uint64_t token,
                                  const std::string& identifier) {
  auto request = request_for(helper_operation::use_ublk_device, identifier);
  request.numbers = {index, token};
  state_->device_->ask(request);
  state_->needs_.ublk_device = true;
}

void confinement::apply() {
  auto& s = *state_;
  // Looked up with privileges: the user might not see the files, and NSS needs other files.
  std::vector<std::filesystem::path> reloaded;
  for (const auto& path : s.readable_)
    for (const auto& file : files_of_a_reload(path))
      reloaded.push_back(std::filesystem::weakly_canonical(file));
  const auto group = s.identity_.user ? name_of_group(*s.identity_.user) : std::string("GROUP");
  if (s.device_) s.device_->ask(request_for(helper_operation::seal));
  s.guest_->ask(request_for(helper_operation::seal));
  s.is_applied_ = true;
  if (sandbox::is_sanitized && s.mode_ == filter_mode::off) return;
  if (!s.identity_.why_root.empty())
    log().warn("the server keeps root's user ID, without capabilities: {}", s.identity_.why_root);
  const auto files = files_of_a_server(s.readable_);
  auto needs = s.needs_;
  const bool stays_root = ::geteuid() == 0 && (!s.identity_.user || s.identity_.user->uid == 0);
  if (stays_root && needs.syslog) {
    // Root's ID opens the sockets of the service manager and of D-Bus to a process without
    // capabilities, so this one must not connect later: the log daemon is connected now.
    log().info("the server keeps root's user ID, so it cannot reconnect to a log daemon");
    flush_log(log_limit);
    needs.syslog = false;
    needs.lost_syslog = true;
  }
  const auto summary = sandbox::drop_privileges(s.identity_.user);
  if (s.mode_ == filter_mode::on) {
    const auto applied = sandbox::restrict_files(files, sandbox::tcp_rights::none);
    log().debug("{}", describe(applied));
    if (summary.uid == 0 && applied.state != sandbox::landlock_state::applied)
      log().warn(
          "{}, so the server can write root's files; create the user {} (see PRIVILEGES in "
          "xenpv-disk(1))",
          describe(applied), default_user);
  }
  const auto present = summary.uid == 0 ? std::string("root") : std::to_string(summary.uid);
  warn_about_unreadable(reloaded, s.identity_.user ? s.identity_.user->name : present, group);
  if (s.mode_ != filter_mode::off) s.filter_.emplace(calls_of_a_server(needs), s.mode_);
  log().debug("the server runs as user {}, without capabilities", summary.uid);
}

bool confinement::is_applied() const noexcept {
  return state_->is_applied_;
}

void confinement::bind(const std::string& disk) {
  auto request = request_for(helper_operation::bind_disk);
  const auto& disks = state_->disks_;
  request.index = static_cast<std::uint32_t>(std::ranges::find(disks, disk) - disks.begin());
  state_->guest_->ask(request);
}

void confinement::unbind(const std::string& disk) {
  auto request = request_for(helper_operation::unbind_disk);
  const auto& disks = state_->disks_;
  request.index = static_cast<std::uint32_t>(std::ranges::find(disks, disk) - disks.begin());
  state_->guest_->ask(request);
}

void confinement::remove(const std::string& path) noexcept {
  try {
    const auto absolute = std::filesystem::absolute(path).lexically_normal().string();
    const auto& removed = state_->removed_;
    const auto found = std::ranges::find(removed, absolute);
    if (!state_->is_applied_ || found == removed.end()) {
      ::unlink(path.c_str());
      return;
    }
    auto request = request_for(helper_operation::remove_file);
    request.index = static_cast<std::uint32_t>(found - removed.begin());
    state_->guest_->ask(request);
  } catch (const std::exception& problem) {
    log().warn("remove {}: {}", path, problem.what());
  }
}

std::shared_ptr<nbd::kernel_delegate> confinement::nbd_device() {
  return make_nbd_delegate(state_->device_);
}

std::shared_ptr<ublk::device_control> confinement::ublk_device() {
  return make_ublk_delegate(state_->device_);
}

void confinement::remember_device(std::uint64_t connections, std::uint64_t timeout,
                                  const std::string& identity) {
  auto request = request_for(helper_operation::remember_device, identity);
  request.numbers = {connections, timeout};
  state_->device_->ask(request);
}

void confinement::forget_device() {
  state_->device_->ask(request_for(helper_operation::forget_device));
}

void hide_keys() {
  if (!sandbox::is_sanitized) sandbox::hide_memory();
}

void remove_server_file(const std::string& path) noexcept {
  if (auto* const confined = active.load(); confined != nullptr)
    confined->remove(path);
  else
    ::unlink(path.c_str());
}

void add_confinement_options(cli::command& command, confinement_options& options) {
  command
      .describe(
          "Once the disks are connected, the server gives up its privileges: it changes to the "
          "user xenpv if there is one, drops all capabilities, and is confined to the files and "
          "system calls that it needs. A helper process keeps the few privileges that are needed "
          "later.")
      .option("--user NAME", options.user,
              "change to this user (default: xenpv if it exists and can use /dev/xen, else root "
              "without capabilities)",
              cli::as_text)
      .option("--sandbox MODE", options.mode,
              "confine the server to the system calls and files that it needs: on, log (only log "
              "other calls) or off",
              cli::one_of<filter_mode>(
                  {{"on", filter_mode::on}, {"log", filter_mode::log}, {"off", filter_mode::off}}),
              {.by_default = std::string(to_string(sandbox::default_mode))});
}

}  // namespace xenpv::disk_app
