// What a toolstack does to a disk that a guest already has. A few writes to domain 0's xenstore, as
// xl does them; the block backend acts on them.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <ostream>

#include "blkback/disk_fault.hpp"
#include "commands.hpp"
#include "sim/admin_service.hpp"
#include "sim/disk_spec.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/cli/value.hpp"
#include "xenpv/wire/xenbus.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::sim_app {
namespace {

constexpr std::chrono::seconds toolstack_patience{10};

struct disk_words {
  std::string directory;
  domid domain{1};
  std::uint32_t device = 0;
  std::uint64_t size = 0;
  std::uint64_t seed = 0;
  std::vector<std::string> faults;
};

disk_words& disk_arguments() {
  static disk_words instance;
  return instance;
}

/// A guest's disk as domain 0 sees it.
class disk_nodes {
 public:
  disk_nodes() : store_(open_store()), frontend_(path_of_frontend()) {
    const auto backend = store_.read_if_exists(frontend_ + "/backend");
    if (!backend)
      throw failure(
          errc::invalid_argument,
          fmt::format("disk {} of domain {}", disk_arguments().device, disk_arguments().domain),
          "no such disk; `xenpv-sim exec --domain 1 -- xenstore-ls device/vbd` lists them");
    backend_ = *backend;
  }

  void write(const std::string& node, const std::string& value) const {
    store_.write(backend_ + "/" + node, value);
  }
  void write_together(const std::vector<std::pair<std::string, std::string>>& nodes) {
    store_.transact([&](xen::store_transaction& all) {
      for (const auto& [node, value] : nodes)
        all.write(backend_ + "/" + node, value);
    });
  }
  [[nodiscard]] std::optional<std::string> read(const std::string& node) const {
    return store_.read_if_exists(backend_ + "/" + node);
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

  /// Waits until `done` holds of the backend's node. Throws when it takes too long.
  void await(const std::string& node, const std::string& what,
             const std::function<bool(const std::optional<std::string>&)>& done) {
    const auto limit = std::chrono::steady_clock::now() + toolstack_patience;
    store_.watch(backend_ + "/" + node, "await");
    while (!done(read(node))) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(limit - std::chrono::steady_clock::now());
      if (left.count() <= 0)
        throw failure(errc::timed_out,
                      fmt::format("{} disk {} of domain {}", what, disk_arguments().device,
                                  disk_arguments().domain),
                      states());
      pollfd poll{store_.watch_descriptor(), POLLIN, 0};
      ::poll(&poll, 1, static_cast<int>(left.count()));
      while (store_.next_event()) {
      }
    }
  }

 private:
  static xen::store open_store() {
    const auto domain = sim::ask_domain_directory(disk_arguments().directory, domid_0);
    ::setenv("XENSTORED_PATH", (domain / "xenstored").c_str(), 1);
    return xen::store::open();
  }
  static std::string path_of_frontend() {
    return fmt::format("/local/domain/{}/device/vbd/{}", disk_arguments().domain,
                       disk_arguments().device);
  }

  xen::store store_;
  std::string frontend_;
  std::string backend_;
};

cli::exit_code resize() {
  disk_nodes disk;
  const auto size = fmt::format("{}", disk_arguments().size);
  const auto sector = parse_unsigned(disk.read("xenpv/sector-size").value_or("512"), "sector-size");
  if (disk_arguments().size == 0 || disk_arguments().size % sector.value() != 0)
    throw failure(errc::invalid_argument, fmt::format("size of {} bytes", size),
                  fmt::format("expected a multiple of {}", sector.value()));
  disk.write("xenpv/size", size);
  disk.await("xenpv/applied-size", "resize", [&](const auto& now) { return now == size; });
  return cli::exit_code::ok;
}

cli::exit_code unplug() {
  disk_nodes disk;
  disk.write_together({{"online", "0"}, {"state", "5"}});
  disk.await("state", "unplug", [](const auto& now) { return !now || now == "6"; });
  disk.remove();
  return cli::exit_code::ok;
}

cli::exit_code command(const std::string& text) {
  disk_nodes disk;
  disk.write("xenpv/command", text);
  disk.await("xenpv/command", text, [](const auto& now) { return !now; });
  return cli::exit_code::ok;
}

cli::exit_code fault() {
  disk_nodes disk;
  const auto text = fmt::format("{}", fmt::join(disk_arguments().faults, " "));
  disk.write("xenpv/fault", text);
  disk.await("xenpv/applied-fault", "fault", [&](const auto& now) { return now == text; });
  return cli::exit_code::ok;
}

result<std::string> parse_fault_word(std::string_view text) {
  blkback::disk_faults ignored;
  if (const auto known = blkback::parse_disk_fault(text, ignored); !known) return known.error();
  return std::string(text);
}

cli::command& with_disk(cli::command& command) {
  return command.argument("VDEV", disk_arguments().device, "the disk: xvdb, or its number",
                          wire::parse_virtual_device);
}

}  // namespace

void add_disk(cli::app& app) {
  auto& disk = app.add_command("disk", "change a disk that a guest of a running host has");
  disk.example("the disk grows while it is used", "xenpv-sim disk --dir /tmp/host resize xvdb 512M")
      .example("every tenth request fails", "xenpv-sim disk --dir /tmp/host fault xvdb error=10")
      .option("--dir DIR", disk_arguments().directory, "the host's folder", cli::as_text,
              {.required = true})
      .option("--domain N", disk_arguments().domain, "the guest",
              cli::whole_number<domid>(1, 0x7FEF), {.by_default = "1"});
  auto& grow = disk.add_command("resize", "change its size and tell the guest");
  with_disk(grow)
      .argument("SIZE", disk_arguments().size, "the new size", parse_size)
      .action([](std::ostream&) { return resize(); });
  auto& detach = disk.add_command("unplug", "ask the guest to let go of it, then remove it");
  with_disk(detach).action([](std::ostream&) { return unplug(); });
  auto& again = disk.add_command("restart", "let its backend die and come back");
  with_disk(again)
      .describe(
          "As if the domain of the backend had crashed: ports are closed and pages unmapped "
          "without "
          "a word, requests in flight are never answered. Then the backend begins anew in "
          "InitWait. "
          "What was written is still there.")
      .action([](std::ostream&) { return command("restart"); });
  auto& cut = disk.add_command("power-cut", "restart it without what was not flushed");
  with_disk(cut)
      .describe(
          "For a disk with `volatile`: of each sector written since the last flush, chance decides "
          "which version survives, or none. Others are only restarted.")
      .option("--seed N", disk_arguments().seed, "decides what is lost",
              cli::whole_number<std::uint64_t>(0, ~std::uint64_t{0}), {.by_default = "0"})
      .action([](std::ostream&) {
        return command(fmt::format("power-cut {}", disk_arguments().seed));
      });
  auto& wrong = disk.add_command("fault", "change what its backend does wrong");
  with_disk(wrong)
      .describe(
          "WORDs replace those in force: error=N, delay=TIME[:P/N], late=TIME[:P/N], stall[=N], "
          "reorder, answer-twice=N, bad-id=N, wrong-operation=N, producer-jump=N, vanish=N, "
          "refuse-indirect, refuse-flush, refuse-discard, none. delay holds responses; late holds "
          "writes, which are carried out that much later. N counts requests or responses of each "
          "ring: every "
          "N-th, and for stall and vanish those that are still served.")
      .argument("WORD", disk_arguments().faults, "what goes wrong", parse_fault_word)
      .action([](std::ostream&) { return fault(); });
}

}  // namespace xenpv::sim_app
