#include "sim/external_backends.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string_view>
#include <utility>

#include "base/parse.hpp"
#include "sim/backend_process.hpp"
#include "sim/backend_program.hpp"
#include "sim/launch.hpp"
#include "sim/toolstack.hpp"
#include "wire/simulated_disk.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::sim {
namespace {

using clock = reactor::clock;

constexpr std::chrono::milliseconds poll_interval{2};
/// How long a killed process may take to end.
constexpr std::chrono::seconds end_limit{10};
/// How long a frontend may take to leave the ring of a backend that was killed. A frontend that is
/// dead itself never does.
constexpr std::chrono::seconds frontend_limit{3};
/// Generous: on a busy machine, QEMU starts slowly.
constexpr std::chrono::seconds announce_limit{60};

/// How much of a log to repeat in an error message, in bytes.
constexpr std::size_t tail_size = 2000;

/// The nodes of a backend directory that the toolstack writes. The backend writes all others.
constexpr std::array<std::string_view, 14> toolstack_nodes = {
    "frontend", "frontend-id", "online", "removable",      "bootable", "dev",     "type",
    "mode",     "device-type", "params", "discard-enable", "xenpv",    "sm-data", "state"};

bool is_toolstack_node(std::string_view name) {
  return std::find(toolstack_nodes.begin(), toolstack_nodes.end(), name) != toolstack_nodes.end();
}

std::filesystem::path log_file(const std::filesystem::path& host_directory,
                               const std::string& name) {
  const char* const chosen = std::getenv("XENPV_SIM_BACKEND_LOG");
  const std::filesystem::path directory =
      chosen != nullptr && *chosen != '\0' ? std::filesystem::path(chosen) : host_directory;
  std::error_code ignored;
  std::filesystem::create_directories(directory, ignored);
  return directory / fmt::format("backend-{}.log", name);
}

/// Returns the end of a log, without an incomplete first line.
std::string tail_of(const std::filesystem::path& log) {
  std::ifstream file(log, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (text.size() > tail_size) {
    text.erase(0, text.size() - tail_size);
    text.erase(0, text.find('\n') + 1);
  }
  while (text.ends_with('\n'))
    text.pop_back();
  return text;
}

}  // namespace

struct external_backends::backend {
  domid domain{};
  std::string guest;
  disk_server server = disk_server::qemu;
  std::vector<disk_spec> disks;
  std::filesystem::path log;
  std::unique_ptr<backend_process> process = nullptr;  ///< null: not running
  std::string end;                                     ///< why the process is not running
  unsigned restarts = 0;
  bool restarting = false;
  bool removed = false;  ///< the guest was destroyed, saved or restored

  [[nodiscard]] std::string_view name() const {
    return server == disk_server::qemu ? wire::qemu_backend : wire::command_backend;
  }
  [[nodiscard]] std::vector<std::string> disk_names() const {
    std::vector<std::string> out;
    for (const auto& disk : disks)
      out.push_back(disk.name);
    return out;
  }
  [[nodiscard]] std::string description() const {
    return fmt::format("backend {} of {} of domain {}", name(), fmt::join(disk_names(), ", "),
                       domain);
  }
  [[nodiscard]] bool serves(std::uint32_t device) const {
    return std::any_of(disks.begin(), disks.end(),
                       [device](const disk_spec& disk) { return disk.device == device; });
  }
};

external_backends::external_backends(reactor& loop, store_service& store,
                                     std::function<void()> flush_store,
                                     std::filesystem::path host_directory)
    : reactor_(loop),
      store_(store),
      flush_store_(std::move(flush_store)),
      directory_(std::move(host_directory)) {}

external_backends::~external_backends() {
  if (child_signals_) reactor_.remove(child_signals_.get());
}

void external_backends::start(domid domain, const std::string& guest,
                              std::span<const disk_spec> disks) {
  backend qemu;
  qemu.domain = domain;
  qemu.guest = guest;
  qemu.log = log_file(directory_, fmt::format("{}-qemu", domain));
  for (const auto& disk : disks) {
    if (disk.server == disk_server::qemu) qemu.disks.push_back(disk);
    if (disk.server != disk_server::command) continue;
    backend command;
    command.domain = domain;
    command.guest = guest;
    command.server = disk_server::command;
    command.disks.push_back(disk);
    command.log = log_file(directory_, fmt::format("{}-{}", domain, disk.name));
    add(std::move(command));
  }
  if (!qemu.disks.empty()) add(std::move(qemu));
}

void external_backends::add(backend fresh) {
  const auto added = std::make_shared<backend>(std::move(fresh));
  backends_.push_back(added);
  try {
    launch(*added);
  } catch (const failure& problem) {
    added->end = problem.what();
    log().error("{}: {}", added->description(), problem.what());
  }
}

void external_backends::launch(backend& target) {
  watch_children();
  const auto program = target.server == disk_server::qemu
                           ? qemu_program(find_qemu(), directory_, target.domain, target.guest)
                           : command_program(target.domain, target.disks.front());
  auto environment = domain_environment(directory_ / fmt::format("dom{}", domid_0));
  environment.insert(program.environment.begin(), program.environment.end());
  target.process = std::make_unique<backend_process>(program.arguments, environment, target.log);
}

void external_backends::watch_children() {
  if (child_signals_) return;
  // backend_process unblocks all signals in the child.
  sigset_t children;
  ::sigemptyset(&children);
  ::sigaddset(&children, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &children, nullptr);
  child_signals_.reset(::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!child_signals_) throw_errno("signalfd");
  reactor_.add(child_signals_.get(), EPOLLIN, [this](std::uint32_t) { reap(); });
}

void external_backends::reap() {
  signalfd_siginfo ignored{};
  while (::read(child_signals_.get(), &ignored, sizeof ignored) > 0) {
  }
  for (const auto& target : backends_) {
    if (!target->process) continue;
    const auto ended = target->process->status();
    if (!ended) continue;
    target->process.reset();
    target->end = fmt::format("it ended with {}", describe_status(*ended));
    if (target->restarting) continue;
    log().error("{}: {}; its log is {}:", target->description(), target->end, target->log.string());
    const auto tail = tail_of(target->log);
    for (const auto line : split(tail, '\n'))
      log().error("  {}", line);
  }
}

void external_backends::stop(domid domain) {
  for (const auto& target : backends_) {
    if (target->domain != domain) continue;
    target->removed = true;
    target->process.reset();
    if (target->server != disk_server::qemu) continue;
    // QEMU's own nodes; libxl removes them, too.
    store_.remove(fmt::format("/local/domain/0/device-model/{}", domain));
    std::error_code ignored;
    std::filesystem::remove(qmp_socket(directory_, domain), ignored);
  }
  std::erase_if(backends_, [](const backend_pointer& target) { return target->removed; });
}

void external_backends::stop_all() {
  for (const auto& target : backends_) {
    target->removed = true;
    target->process.reset();
  }
  backends_.clear();
}

void external_backends::poll(clock::time_point limit, std::function<bool()> reached,
                             std::function<void()> then) {
  if (reached() || clock::now() >= limit) return then();
  reactor_.after(poll_interval, [this, limit, reached = std::move(reached),
                                 then = std::move(then)] { poll(limit, reached, then); });
}

void external_backends::await_announced(done_function done) {
  const auto are_settled = [this] {
    return std::all_of(backends_.begin(), backends_.end(), [this](const backend_pointer& target) {
      return !target->process || is_announced(*target);
    });
  };
  const auto report = [this, done = std::move(done)] {
    std::vector<std::string> problems;
    for (const auto& target : backends_)
      if (auto problem = problem_of(*target); !problem.empty())
        problems.push_back(std::move(problem));
    done(fmt::format("{}", fmt::join(problems, "\n")));
  };
  poll(clock::now() + announce_limit, are_settled, report);
}

void external_backends::restart(domid domain, std::uint32_t device, done_function done) {
  const auto operation = fmt::format("restart the backend of disk {} of domain {}", device, domain);
  const auto found =
      std::find_if(backends_.begin(), backends_.end(), [&](const backend_pointer& candidate) {
        return candidate->domain == domain && candidate->serves(device);
      });
  if (found == backends_.end())
    throw failure(errc::invalid_argument, operation, "the disk has no external backend");
  const auto target = *found;
  if (target->restarting)
    throw failure(errc::invalid_argument, operation, "it is already being restarted");
  target->restarting = true;
  ++target->restarts;
  if (target->process) target->process->kill();
  const auto has_ended = [target] {
    if (target->process && target->process->status()) target->process.reset();
    return !target->process;
  };
  poll(clock::now() + end_limit, has_ended,
       [this, target, done = std::move(done)] { relaunch(target, done); });
}

void external_backends::relaunch(const backend_pointer& target, const done_function& done) {
  const auto finish = [target, done](const std::string& problem) {
    target->restarting = false;
    done(problem);
  };
  if (target->process)
    return finish(fmt::format("cannot kill process {}", target->process->process()));
  if (target->removed) return finish(problem_of(*target));
  for (const auto& disk : target->disks)
    reset_backend_nodes(target->domain, disk);
  flush_store_();
  // A starting QEMU connects to any frontend in Initialised or Connected, even to one that still
  // uses the ring of the killed QEMU. It would then execute the old requests in that ring.
  const auto are_released = [this, target] {
    return target->removed ||
           std::none_of(target->disks.begin(), target->disks.end(), [&](const disk_spec& disk) {
             return has_stale_frontend(target->domain, disk);
           });
  };
  const auto launch_again = [this, target, finish] {
    if (target->removed) return finish(problem_of(*target));
    for (const auto& disk : target->disks)
      reset_stale_frontend(target->domain, disk);
    flush_store_();
    try {
      launch(*target);
    } catch (const failure& problem) {
      target->end = problem.what();
      return finish(problem_of(*target));
    }
    const auto is_settled = [this, target] {
      return target->removed || !target->process || is_announced(*target);
    };
    poll(clock::now() + announce_limit, is_settled,
         [this, target, finish] { finish(problem_of(*target)); });
  };
  poll(clock::now() + frontend_limit, are_released, launch_again);
}

std::vector<external_backends::backend_status> external_backends::status() const {
  std::vector<backend_status> out;
  for (const auto& target : backends_) {
    backend_status one;
    one.domain = target->domain;
    one.backend = target->name();
    one.disks = target->disk_names();
    if (target->process) one.process = target->process->process();
    one.restarts = target->restarts;
    one.log = target->log;
    out.push_back(std::move(one));
  }
  return out;
}

std::optional<std::string> external_backends::read(const std::string& path) const {
  return store_.read(path);
}

bool external_backends::is_announced(const backend& target) const {
  return std::all_of(target.disks.begin(), target.disks.end(), [&](const disk_spec& disk) {
    // An unplugged disk has no state.
    return read(backend_path(target.domain, disk) + "/state") != "1";
  });
}

std::string external_backends::problem_of(const backend& target) const {
  if (target.removed)
    return fmt::format("{}: the guest was destroyed or saved", target.description());
  if (target.process && is_announced(target)) return "";
  const auto reason = target.process ? fmt::format("a disk is still in Initialising after {} s",
                                                   announce_limit.count())
                                     : target.end;
  return fmt::format("{}: {}; its log is {}:\n{}", target.description(), reason,
                     target.log.string(), tail_of(target.log));
}

bool external_backends::has_stale_frontend(domid domain, const disk_spec& disk) const {
  const auto state = read(frontend_path(domain, disk) + "/state");
  // Initialised, Connected, Closing
  return state == "3" || state == "4" || state == "5";
}

void external_backends::reset_backend_nodes(domid domain, const disk_spec& disk) {
  const auto back = backend_path(domain, disk);
  // The disk was unplugged, or is being unplugged.
  if (read(back + "/online") != "1") return;
  for (const auto& name : store_.list(back))
    if (!is_toolstack_node(name)) store_.remove(fmt::format("{}/{}", back, name));
  store_.write(back + "/state", "1");
}

void external_backends::reset_stale_frontend(domid domain, const disk_spec& disk) {
  if (has_stale_frontend(domain, disk)) store_.write(frontend_path(domain, disk) + "/state", "1");
}

}  // namespace xenpv::sim
