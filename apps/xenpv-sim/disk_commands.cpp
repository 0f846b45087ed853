// Toolstack operations on a guest's existing disk. Each operation writes a few xenstore nodes in
// domain 0, as xl does; the block backend watches these nodes and performs the operation. The host
// restarts external backends, and QEMU's monitor resizes QEMU's disks.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>

#include <chrono>
#include <functional>
#include <ostream>

#include "base/parse.hpp"
#include "blkback/disk_fault.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "host_directory.hpp"
#include "sim/admin_service.hpp"
#include "sim/backend_program.hpp"
#include "sim/disk_spec.hpp"
#include "sim/qmp.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/wire/xenbus.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::sim_app {
namespace {

constexpr std::chrono::seconds toolstack_timeout{10};

struct disk_options {
  std::string directory;
  std::string domain;
  std::uint32_t device = 0;
  std::uint64_t size = 0;
  std::uint64_t seed = 0;
  std::vector<std::string> faults;
};

disk_options& disk_arguments() {
  static disk_options instance;
  return instance;
}

std::string directory_of_disks(domid guest) {
  return fmt::format("/local/domain/{}/device/vbd", guest);
}

std::vector<std::string> disk_names(const xen::store& store, domid guest) {
  std::vector<std::string> out;
  const auto devices = store.list_if_exists(directory_of_disks(guest));
  if (!devices) return out;
  for (const auto& device : *devices)
    if (const auto number = parse_whole<std::uint32_t>(device))
      out.push_back(wire::virtual_device_name(*number));
  return out;
}

/// The xenstore nodes of a guest's disk, accessed from domain 0.
class disk_nodes {
 public:
  disk_nodes()
      : host_(running_host(disk_arguments().directory)),
        guest_(sim::find_domain(host_, disk_arguments().domain)),
        store_(open_domain_0_store(host_)),
        frontend_(
            fmt::format("{}/{}", directory_of_disks(guest_.number), disk_arguments().device)) {
    const auto backend = store_.read_if_exists(frontend_ + "/backend");
    if (!backend)
      throw failure(errc::invalid_argument, name(),
                    fmt::format("no such disk; {}", describe_disks()));
    backend_ = *backend;
  }

  [[nodiscard]] const std::filesystem::path& host() const noexcept { return host_; }
  [[nodiscard]] domid guest() const noexcept { return guest_.number; }

  void write(const std::string& node, const std::string& value) const {
    store_.write(backend_ + "/" + node, value);
  }
  void write_together(const std::vector<std::pair<std::string, std::string>>& nodes) {
    store_.transact([&](xen::store_transaction& transaction) {
      for (const auto& [node, value] : nodes)
        transaction.write(backend_ + "/" + node, value);
    });
  }
  [[nodiscard]] std::optional<std::string> read(const std::string& node) const {
    return store_.read_if_exists(backend_ + "/" + node);
  }
  /// Returns "qemu-real" or "exec"; empty for a disk of the simulator's own backend.
  [[nodiscard]] std::string external_backend() const {
    auto name = read("xenpv/backend").value_or("");
    return wire::is_external_backend(name) ? name : "";
  }
  [[nodiscard]] std::string states() const {
    const auto name = [&](const std::string& path) {
      const auto state = wire::parse_xenbus_state(store_.read_if_exists(path).value_or("0"));
      return wire::to_string(state.value_or(wire::xenbus_state::unknown));
    };
    return fmt::format("backend {}, frontend {}", name(backend_ + "/state"),
                       name(frontend_ + "/state"));
  }
  void remove() const {
    (void)store_.remove(frontend_);
    (void)store_.remove(backend_);
  }

  /// Waits until the backend has opened the disk, which happens again after a restore. If a size or
  /// faults are set earlier, the backend starts with them and does not acknowledge them.
  void await_opened(const std::string& action) {
    await("hotplug-status", action, [](const auto& value) { return value.has_value(); });
  }

  /// Waits until `done` returns true for the value of backend node `node`. Throws `failure` on
  /// timeout.
  void await(const std::string& node, const std::string& action,
             const std::function<bool(const std::optional<std::string>&)>& done) {
    const auto limit = std::chrono::steady_clock::now() + toolstack_timeout;
    store_.watch(backend_ + "/" + node, "await");
    while (!done(read(node))) {
      const auto remaining =
          std::chrono::ceil<std::chrono::milliseconds>(limit - std::chrono::steady_clock::now());
      if (remaining.count() <= 0)
        throw failure(errc::timed_out, fmt::format("{} {}", action, name()), states());
      pollfd poll{store_.watch_descriptor(), POLLIN, 0};
      ::poll(&poll, 1, static_cast<int>(remaining.count()));
      while (store_.next_event()) {
      }
    }
  }

 private:
  [[nodiscard]] std::string name() const {
    return fmt::format("disk {} of {}", wire::virtual_device_name(disk_arguments().device),
                       guest_.name);
  }
  [[nodiscard]] std::string describe_disks() const {
    const auto names = disk_names(store_, guest_.number);
    if (names.empty()) return "it has no disks; start the host with --disk";
    return fmt::format("it has {}", fmt::join(names, ", "));
  }

  std::filesystem::path host_;
  sim::domain_identity guest_;
  xen::store store_;
  std::string frontend_;
  std::string backend_;
};

[[noreturn]] void refuse(std::string_view operation, std::string_view backend) {
  throw failure(errc::invalid_argument, fmt::format("{} the disk", operation),
                fmt::format("backend={} does not support it", backend));
}

void require_multiple_of(std::uint64_t sector) {
  const auto size = disk_arguments().size;
  if (size == 0 || size % sector != 0)
    throw failure(errc::invalid_argument, fmt::format("size of {} bytes", size),
                  fmt::format("expected a multiple of {}", sector));
}

cli::exit_code resize_with_qemu(disk_nodes& disk) {
  const auto sector =
      parse_unsigned(disk.read("sector-size").value_or("512"), "sector-size", 512, 4096).value();
  require_multiple_of(sector);
  const auto socket = sim::qmp_socket(disk.host(), disk.guest());
  sim::resize_qemu_disk(socket, disk.read("dev").value_or(""), disk_arguments().size);
  const auto sectors = fmt::format("{}", disk_arguments().size / sector);
  disk.await("sectors", "resize", [&](const auto& value) { return value == sectors; });
  return cli::exit_code::ok;
}

cli::exit_code resize() {
  disk_nodes disk;
  const auto external = disk.external_backend();
  if (external == wire::qemu_backend) return resize_with_qemu(disk);
  if (!external.empty()) refuse("resize", external);
  const auto size = fmt::format("{}", disk_arguments().size);
  require_multiple_of(
      parse_unsigned(disk.read("xenpv/sector-size").value_or("512"), "sector-size").value());
  disk.await_opened("resize");
  disk.write("xenpv/size", size);
  disk.await("xenpv/applied-size", "resize", [&](const auto& value) { return value == size; });
  return cli::exit_code::ok;
}

cli::exit_code unplug() {
  disk_nodes disk;
  disk.write_together({{"online", "0"}, {"state", "5"}});
  disk.await("state", "unplug", [](const auto& value) { return !value || value == "6"; });
  disk.remove();
  return cli::exit_code::ok;
}

cli::exit_code restart(const std::string& text) {
  disk_nodes disk;
  if (!disk.external_backend().empty()) {
    sim::restart_backend(disk.host(), disk.guest(), disk_arguments().device);
    return cli::exit_code::ok;
  }
  disk.write("xenpv/command", text);
  disk.await("xenpv/command", text, [](const auto& value) { return !value; });
  return cli::exit_code::ok;
}

cli::exit_code fault() {
  disk_nodes disk;
  if (const auto external = disk.external_backend(); !external.empty())
    refuse("inject faults into", external);
  const auto text = fmt::format("{}", fmt::join(disk_arguments().faults, " "));
  disk.await_opened("inject faults into");
  disk.write("xenpv/fault", text);
  disk.await("xenpv/applied-fault", "inject faults into",
             [&](const auto& value) { return value == text; });
  return cli::exit_code::ok;
}

result<std::string> parse_fault_argument(std::string_view text) {
  blkback::disk_faults ignored;
  if (const auto parsed = blkback::parse_disk_fault(text, ignored); !parsed) return parsed.error();
  return std::string(text);
}

/// For completion: the disks of the first guest.
std::vector<cli::completion_word> list_disks() {
  const auto host = running_host("");
  const auto guest = sim::find_domain(host, std::string(first_guest));
  std::vector<cli::completion_word> out;
  for (auto& name : disk_names(open_domain_0_store(host), guest.number))
    out.push_back({std::move(name)});
  return out;
}

cli::command& with_disk(cli::command& command) {
  return command.argument("VDEV", disk_arguments().device,
                          "name (such as xvdb) or number of the disk", wire::parse_virtual_device);
}

}  // namespace

void add_disk(cli::app& app) {
  auto& disk = app.add_command("disk", "change a guest's disk on a running host");
  disk.example("grow a disk in use", "xenpv-sim disk resize xvdb 512M")
      .example("fail every tenth request", "xenpv-sim disk fault xvdb error=10");
  add_directory_option(disk, disk_arguments().directory)
      .option("--domain DOMAIN", disk_arguments().domain, std::string(domain_help), cli::as_text,
              {.by_default = std::string(first_guest)});
  app.complete_values("VDEV", list_disks);
  auto& resize_command = disk.add_command("resize", "change the disk's size and notify the guest");
  with_disk(resize_command)
      .describe(
          "QEMU (backend=qemu-real) resizes the file, too. A command (backend=exec:COMMAND) cannot "
          "be asked to resize its disk.")
      .argument("SIZE", disk_arguments().size, "new size", parse_size)
      .action([](std::ostream&) { return resize(); });
  auto& unplug_command =
      disk.add_command("unplug", "ask the guest to release the disk, then remove it");
  with_disk(unplug_command).action([](std::ostream&) { return unplug(); });
  auto& restart_command = disk.add_command("restart", "restart the disk's backend");
  with_disk(restart_command)
      .describe(
          "Simulates a crash of the backend domain: ports are closed and pages unmapped without "
          "notice, and requests in flight are never answered. The backend then starts again in "
          "InitWait. Written data is preserved.")
      .describe(
          "An external backend (backend=qemu-real or backend=exec:COMMAND) is killed (SIGKILL, "
          "with its process group). When the frontend has left its ring, or after 3 seconds, the "
          "backend is started again. One QEMU serves all qemu-real disks of a guest, so all of "
          "them are restarted.")
      .action([](std::ostream&) { return restart("restart"); });
  auto& power_cut_command =
      disk.add_command("power-cut", "restart the disk's backend and lose unflushed writes");
  with_disk(power_cut_command)
      .describe(
          "On a `volatile` disk, each sector written since the last flush gets a random version: "
          "the flushed one, or any one written since. Other disks are only restarted.")
      .option("--seed N", disk_arguments().seed, "seed of the random choice",
              cli::whole_number<std::uint64_t>(0, ~std::uint64_t{0}), {.by_default = "0"})
      .action([](std::ostream&) {
        return restart(fmt::format("power-cut {}", disk_arguments().seed));
      });
  auto& fault_command = disk.add_command("fault", "inject faults into the disk's backend");
  with_disk(fault_command)
      .describe(
          "Replaces the current faults. WORD is one of: error=N, delay=TIME[:P/N], "
          "late=TIME[:P/N], stall[=N], reorder, answer-twice=N, bad-id=N, wrong-operation=N, "
          "producer-jump=N, vanish=N, refuse-indirect, refuse-flush, refuse-discard, none. `delay` "
          "delays "
          "responses by TIME; `late` delays the execution of writes by TIME. P/N affects the first "
          "P of every N (default: all). The faults with a plain N affect every N-th request or "
          "response of a ring, except that stall=N and vanish=N take effect after N more "
          "requests.")
      .argument("WORD", disk_arguments().faults, "fault to inject", parse_fault_argument)
      .action([](std::ostream&) { return fault(); });
}

}  // namespace xenpv::sim_app
