#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "claim.hpp"
#include "commands.hpp"
#include "control_socket.hpp"
#include "kept_device.hpp"
#include "xenpv/base/block_device_users.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/pipe.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/cli/value.hpp"
#include "xenpv/nbd/kernel_device.hpp"
#include "xenpv/nbd/kernel_driver.hpp"
#include "xenpv/wire/virtual_device.hpp"

namespace xenpv::disk_app {
namespace {

using std::chrono::steady_clock;

/// What others get to close a device that they only look at: udev opens each new one.
constexpr std::chrono::seconds looking_limit(2);
constexpr std::chrono::seconds opening_limit(5);
/// The kernel's, and then the server's: it drains, flushes and closes the disk.
constexpr std::chrono::seconds letting_go_limit(30);
constexpr std::chrono::milliseconds between_looks(50);

struct detach_words {
  std::string what;
  bool force = false;
};

/// A device of the kernel's, and the disk behind it if one of our servers serves it.
struct target {
  std::uint32_t index = 0;
  std::string disk;  ///< "xvdb", of a server of ours or a device left behind; else empty

  [[nodiscard]] std::string path() const { return nbd::kernel_device_path(index); }
  [[nodiscard]] std::string name() const { return nbd::kernel_device_name(index); }
};

[[noreturn]] void throw_busy(const target& of, std::string_view why) {
  throw failure(std::make_error_code(std::errc::device_or_resource_busy),
                fmt::format("detach {}", of.path()), why);
}

/// Looks until `condition` or the limit; returns whether it came true.
template <class Condition>
bool wait_until(Condition condition, std::chrono::nanoseconds limit) {
  const auto until = steady_clock::now() + limit;
  while (!condition()) {
    if (steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(between_looks);
  }
  return true;
}

/// A device that was left behind goes by the name that the guest gives to the disk.
std::optional<target> find_left_behind(const std::string& word) {
  const auto name = word.substr(word.rfind('/') + 1);
  std::vector<std::string> names = {name};
  if (const auto number = wire::parse_virtual_device(name))
    if (auto guest = wire::linux_disk_name(*number)) names.push_back(std::move(*guest));
  for (const auto& each : names)
    if (const auto kept = find_kept_device(each)) return target{kept->index, each};
  return std::nullopt;
}

target find_target(const std::string& word) {
  const auto what = fmt::format("detach {}", word);
  const auto asked = nbd::kernel_device_index(word);
  for (const auto& report : ask_servers("")) {
    const auto& device = report.at("kernel_device");
    const auto index = nbd::kernel_device_index(device.is_null() ? "" : device.get<std::string>());
    const bool is_meant = asked ? index == asked : names_disk(report, word);
    if (!is_meant) continue;
    if (index) return {*index, report.at("name").get<std::string>()};
    throw failure(make_error_code(errc::not_available), what,
                  fmt::format("process {} serves it over NBD; it is no device of the kernel's",
                              report.at("pid").get<int>()));
  }
  if (auto left = asked ? std::nullopt : find_left_behind(word)) return *left;
  if (!asked)
    throw failure(make_error_code(errc::not_available), what,
                  "no process has it attached; xenpv-disk status shows what is served");
  if (!nbd::kernel_device_owner(*asked))
    throw failure(make_error_code(errc::not_available), what, "it is not connected");
  return {*asked, disk_of_kept_device(*asked)};
}

/// A mount in another namespace shows nowhere, but the kernel knows it.
void refuse_if_claimed(const target& of) {
  const auto path = system_root::from_environment().path(of.path()).string();
  nbd::device_opening opening(path, nbd::device_opening::purpose::claim);
  pollfd ready{opening.readable(), POLLIN, 0};
  const auto limit = std::chrono::milliseconds(opening_limit);
  if (::poll(&ready, 1, static_cast<int>(limit.count())) == 0)
    throw failure(make_error_code(errc::timed_out), fmt::format("open {}", of.path()),
                  "nobody answers its requests; --force detaches it all the same");
  if (opening.outcome() == EBUSY)
    throw_busy(of,
               "something holds it that does not show here, a mount of a container for instance");
}

void refuse_if_used(const target& of) {
  const auto root = system_root::from_environment();
  auto users = block_device_holders(of.name(), root);
  const auto nobody = [&] {
    users = block_device_openers(of.name(), root);
    return users.empty();
  };
  if (!users.empty() || !wait_until(nobody, looking_limit))
    throw_busy(of,
               fmt::format("it is {}; --force detaches it all the same", fmt::join(users, "; ")));
  refuse_if_claimed(of);
}

/// The kernel may wait for a server that does not answer, and nothing interrupts it: so a child
/// asks.
void disconnect(const target& of) {
  auto [reader, writer] = make_pipe();
  const auto child = ::fork();
  if (child < 0) throw_errno("start a process");
  if (child == 0) {
    std::string problem;
    try {
      nbd::kernel_driver::open().disconnect(of.index);
    } catch (const std::exception& e) {
      problem = e.what();
    }
    [[maybe_unused]] const auto written = ::write(writer.get(), problem.data(), problem.size());
    ::_exit(0);
  }
  writer.reset();
  pollfd ready{reader.get(), POLLIN, 0};
  const auto limit = std::chrono::milliseconds(letting_go_limit);
  if (::poll(&ready, 1, static_cast<int>(limit.count())) == 0)
    throw failure(make_error_code(errc::timed_out), fmt::format("detach {}", of.path()),
                  "the kernel waits for a server that does not answer; end that process");
  char problem[1024];
  const auto size = ::read(reader.get(), problem, sizeof problem);
  ::waitpid(child, nullptr, 0);
  if (size > 0)
    throw failure(error{make_error_code(errc::lost_connection),
                        std::string(problem, static_cast<std::size_t>(size))});
}

/// The device may be connected anew, and the disk served anew.
void wait_until_free(const target& of) {
  auto driver = nbd::kernel_driver::open();
  const auto is_free = [&] { return !driver.is_connected(of.index).value_or(false); };
  if (!wait_until(is_free, letting_go_limit)) {
    const auto users = block_device_users(of.name(), system_root::from_environment());
    throw_busy(of, users.empty()
                       ? std::string("it is disconnected, but somebody has it open still")
                       : fmt::format("it is disconnected, but still {}", fmt::join(users, "; ")));
  }
  if (of.disk.empty()) return;
  const auto is_gone = [&] { return !is_locked(of.disk); };
  if (!wait_until(is_gone, letting_go_limit))
    throw failure(
        make_error_code(errc::timed_out), fmt::format("detach {}", of.path()),
        fmt::format("the device is gone, but the process that served {} still runs", of.disk));
}

cli::exit_code detach(const detach_words& words) {
  const auto of = find_target(words.what);
  if (!words.force) refuse_if_used(of);
  disconnect(of);
  wait_until_free(of);
  if (!of.disk.empty()) forget_device(of.disk);
  log().info("{}: detached{}{}", of.path(), of.disk.empty() ? "" : " from ", of.disk);
  return cli::exit_code::ok;
}

}  // namespace

void add_detach(cli::app& app) {
  static detach_words words;
  auto& command = app.add_command("detach", "take a disk's block device away again");
  command
      .describe(
          "Has the kernel let go of the device that xenpv-disk attach made, and waits until the "
          "process that served it has closed the disk; also of one that attach --keep left behind. "
          "Refuses while the device or a partition of "
          "it is mounted, used as swap, part of another device, or open.")
      .argument("DISK", words.what, "xvdb, or its device as in /dev/nbd0", cli::as_text)
      .flag("--force", words.force, "also while it is in use: its users get I/O errors")
      .action([](std::ostream&) { return detach(words); });
}

}  // namespace xenpv::disk_app
