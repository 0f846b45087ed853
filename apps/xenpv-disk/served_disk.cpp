#include "served_disk.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <utility>

#include "async/complete_all.hpp"
#include "async/low_priority_thread.hpp"
#include "async/nursery.hpp"
#include "base/descriptor_limit.hpp"
#include "base/parse.hpp"
#include "blk/partition_reader.hpp"
#include "cli/value.hpp"
#include "control_socket.hpp"
#include "hang_up.hpp"
#include "memory_lock.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::disk_app {
namespace {

nbd::server_options server_options_for(const server_settings& settings, const tls_settings& tls,
                                       async::low_priority_thread& handshakes) {
  nbd::server_options out;
  out.max_connections = settings.max_connections;
  out.progress_limit = settings.progress_limit;
  out.memory_limit = settings.memory_limit;
  out.tls = tls.mode;
  out.credentials = tls.credentials;
  out.access = tls.access;
  out.handshakes = handshakes.get_executor();
  return out;
}

/// Throws a `failure` that names the disk.
asio::awaitable<blk::partition> find_partition(blkfront::frontend& device, const std::string& name,
                                               unsigned number) {
  auto& queue = device.queue(0);
  blk::partition_table table;
  auto read = [&]() -> asio::awaitable<void> { table = co_await blk::read_partition_table(queue); };
  try {
    co_await async::run_on(queue.get_executor(), read);
    for (const auto& warning : table.warnings)
      log().warn("{}: {}", name, warning);
    co_return table.find(number).value();
  } catch (const failure& problem) {
    throw failure(error{problem.code(), fmt::format("{}: {}", name, problem.what())});
  }
}

nbd::export_options export_options_for(const served_disk& disk, std::size_t index) {
  const auto& spec = disk.claimed.exports[index];
  nbd::export_options out;
  out.name = spec.name;
  out.description = fmt::format("PV disk {} ({}) of domain {}", disk.name,
                                disk.claimed.held.disk.backend, disk.device.facts().backend_domain);
  out.read_only = spec.read_only;
  out.is_default = spec.is_default;
  out.first = spec.part.offset.value_or(0);
  out.size = spec.part.size.value_or(0);
  if (const auto& found = disk.claimed.partitions[index]) {
    out.first = found->offset;
    out.size = found->size;
    out.description += fmt::format(", partition {}", found->number);
  }
  return out;
}

void add_exports(disk_server& server) {
  for (auto& disk : server.disks)
    for (std::size_t i = 0; i < disk.claimed.exports.size(); ++i)
      server.server.add_export(disk.device, export_options_for(disk, i));
}

void warn_about(const blkfront::frontend& device, const std::string& name) {
  if (!device.shape().can_flush && !device.shape().read_only)
    log().warn(
        "{}: the backend does not support flush, so writes are never known to be durable; clients "
        "are offered neither FLUSH nor FUA",
        name);
}

/// Waits for a signal that stops the server. There is nothing to reload yet.
asio::awaitable<int> wait_for_stop(asio::signal_set& signals) {
  if (terminal_is_closed()) co_return SIGHUP;
  for (;;) {
    const int number = co_await signals.async_wait(asio::use_awaitable);
    if (number != SIGHUP || terminal_is_closed()) co_return number;
  }
}

/// With less memory, the largest request would exceed the limit.
result<std::uint64_t> parse_memory(std::string_view text, std::string_view name) {
  constexpr auto least = std::uint64_t{128} << 20U;
  auto size = parse_size(text, name);
  if (!size || *size >= least) return size;
  return make_error(errc::invalid_argument, fmt::format("{} '{}'", name, text),
                    fmt::format("expected at least {}", format_size(least)));
}

std::string names_of(const std::vector<claimed_disk>& disks) {
  std::string out;
  for (const auto& disk : disks)
    out += (out.empty() ? "" : ", ") + disk.name();
  return out;
}

/// The disks of a server, from the claim to the shutdown.
class disk_set {
 public:
  disk_set(async::runtime& runtime, const server_settings& settings, const tls_settings& tls,
           confinement* confined)
      : runtime_(runtime), settings_(settings), tls_(tls), confined_(confined) {}

  asio::awaitable<void> serve(std::function<disk_service(const claimed_disks&)> prepare) {
    co_await claim_all();
    const auto service = prepare({runtime_, claimed_, tls_, confined_});
    if (!service.serve) co_return;
    int signal = 0;
    auto undo = [this] { return disconnect_all(); };
    co_await async::clean_up_on_failure(connect_all(signal), undo);
    if (signal != 0) co_return co_await disconnect_all();
    auto close_all = [this] { return for_each_connected(close); };
    auto return_all = [this] { return give_back_unserved(); };
    auto serving = async::finally(serve_clients(service), close_all);
    // Also if a signal stops the service before clients could use the disks.
    co_await async::finally(std::move(serving), return_all);
  }

 private:
  /// Locks each disk once, however many exports it has.
  asio::awaitable<void> claim_all() {
    for (const auto& spec : settings_.exports) {
      const auto same = std::ranges::find_if(
          claimed_, [&](const claimed_disk& other) { return other.exports[0].disk == spec.disk; });
      if (same != claimed_.end()) {
        same->exports.push_back(spec);
        continue;
      }
      if (!claimed_.empty()) co_await refuse_second_name(spec.disk);
      auto held = co_await lock_disk(runtime_, spec.disk, settings_.keep);
      claimed_disk claimed;
      claimed.held = std::move(held);
      claimed.exports.push_back(spec);
      claimed_.push_back(std::move(claimed));
    }
    for (auto& disk : claimed_) {
      check_claim(disk.held.disk, settings_.device);
      for (auto& spec : disk.exports) {
        if (spec.name.empty()) spec.name = default_export_name(disk.name(), spec.part);
        nbd::check_export_name(spec.name).value();
      }
      controls_.push_back(std::make_unique<control_socket>(runtime_.control(), disk.name()));
      if (confined_ == nullptr) continue;
      confined_->add_disk(disk.held.disk.number, disk.name());
      confined_->add_removed(control_path(disk.name()));
    }
  }

  /// Throws if the disk `name` is already claimed under another name, because the lock would be
  /// found to be held by another server.
  asio::awaitable<void> refuse_second_name(const std::string& name) {
    const auto devices = co_await blkfront::list_devices(runtime_.store());
    const auto disk = blkfront::find_device(devices, name).value();
    for (const auto& claimed : claimed_)
      if (claimed.held.disk.path == disk.path)
        throw failure(make_error_code(errc::invalid_argument), fmt::format("serve {}", disk.name),
                      fmt::format("given twice, as {} and as {}; use the same name for each of its "
                                  "exports",
                                  claimed.exports[0].disk, name));
  }

  /// Connects the disks. Meanwhile, the control sockets disconnect all clients, and `signal` is set
  /// to any signal that arrives.
  asio::awaitable<void> connect_all(int& signal) {
    async::nursery tasks(runtime_.control());
    for (auto& control : controls_)
      tasks.spawn(control->refuse());
    tasks.spawn(handle_signals(signal));
    auto end_tasks = [&] {
      tasks.cancel();
      return tasks.join();
    };
    co_await async::finally(connect_each(signal), end_tasks);
  }

  asio::awaitable<void> connect_each(const int& signal) {
    connected_.reserve(claimed_.size());
    for (auto& disk : claimed_) {
      if (signal != 0) co_return;
      auto identity = disk.held.kept ? disk.held.kept->identity : std::string();
      auto connected =
          co_await connect_disk(runtime_, disk.held.disk, settings_.device, std::move(identity));
      connected_.push_back(std::move(connected));
      warn_about(*connected_.back().device, disk.name());
      co_await find_partitions(disk, *connected_.back().device);
    }
    // Until the service handles signals, they must neither end the process nor be lost.
    signals_.emplace(runtime_.control(), SIGTERM, SIGINT);
  }

  static asio::awaitable<void> find_partitions(claimed_disk& disk, blkfront::frontend& device) {
    for (const auto& spec : disk.exports) {
      disk.partitions.emplace_back();
      if (!spec.part.partition) continue;
      auto found = co_await find_partition(device, disk.name(), *spec.part.partition);
      disk.partitions.back() = std::move(found);
    }
  }

  /// The first signal does not interrupt a connection attempt, because the interruption would leave
  /// the disk without a driver. The second signal does.
  asio::awaitable<void> handle_signals(int& first) {
    asio::signal_set signals(runtime_.control(), SIGTERM, SIGINT, SIGHUP);
    first = co_await wait_for_stop(signals);
    log().info(
        "{}: signal {}: stopping once the backend has answered; a second signal exits immediately",
        names_of(claimed_), first);
    signals.remove(SIGHUP);
    const auto second = co_await signals.async_wait(asio::use_awaitable);
    signals.clear();
    ::raise(second);
  }

  asio::awaitable<void> serve_clients(const disk_service& service) {
    async::low_priority_thread handshakes("xenpv-handshake");
    nbd::server server(runtime_.control(), server_options_for(settings_, tls_, handshakes));
    disk_server running{runtime_, server, *signals_, {}, names_of(claimed_), confined_};
    for (std::size_t i = 0; i < claimed_.size(); ++i)
      running.disks.push_back(
          served_disk{claimed_[i], claimed_[i].name(), *connected_[i].device, *controls_[i]});
    auto stop = [&] {
      was_ready_ = running.is_ready;
      signals_.reset();
      for (auto& control : controls_)
        control->close();
      for (auto& disk : running.disks)
        disk.device.on_change({});
      return server.stop();
    };
    auto serving = [&]() -> asio::awaitable<void> {
      add_exports(running);
      if (service.open) co_await service.open(running);
      // All that needs privileges is open, and no client has connected.
      auto drop = [this]() -> asio::awaitable<void> {
        if (confined_ != nullptr) confined_->apply();
        co_return;
      };
      auto abandon = [&]() -> asio::awaitable<void> {
        if (service.abandon) co_await service.abandon();
      };
      co_await async::clean_up_on_failure(drop(), abandon);
      co_await service.serve(running);
    };
    co_await async::finally(serving(), stop);
  }

  static asio::awaitable<void> close(const claimed_disk& disk, connected_disk& connected) {
    auto& device = *connected.device;
    if (device.shape().can_flush && device.state() == blkfront::device_state::connected) {
      try {
        co_await device.flush();
      } catch (const std::exception& problem) {
        log().error("{}: {}", disk.name(), problem.what());
      }
    }
    co_await device.close();
  }

  /// Calls `action` for all connected disks at the same time, because a backend may be slow.
  asio::awaitable<void> for_each_connected(asio::awaitable<void> (*action)(const claimed_disk&,
                                                                           connected_disk&)) {
    std::vector<asio::awaitable<void>> actions;
    for (std::size_t i = 0; i < connected_.size(); ++i)
      actions.push_back(action(claimed_[i], connected_[i]));
    co_await async::complete_all(std::move(actions));
  }

  /// Closes disks that were never served, and returns those that were taken over.
  asio::awaitable<void> disconnect_all() {
    signals_.reset();
    auto close_one = [](const claimed_disk&, connected_disk& connected) {
      return connected.device->close();
    };
    // A disk that cannot be closed must not keep the others from the kernel driver.
    auto return_all = [this] { return give_back_unserved(); };
    co_await async::finally(for_each_connected(close_one), return_all);
  }

  asio::awaitable<void> give_back_unserved() {
    for (std::size_t i = 0; i < connected_.size(); ++i)
      if (connected_[i].taken && !was_ready_)
        co_await give_back(runtime_, claimed_[i].held.disk, confined_);
  }

  async::runtime& runtime_;
  const server_settings& settings_;
  const tls_settings& tls_;
  confinement* confined_;
  std::vector<claimed_disk> claimed_;
  std::vector<std::unique_ptr<control_socket>> controls_;  ///< of each claimed disk
  std::vector<connected_disk> connected_;                  ///< the first of the claimed disks
  std::optional<asio::signal_set> signals_;                ///< see disk_server::signals
  bool was_ready_ = false;
};

/// Asio restores the default action, which ends the process, when the last set of a signal is
/// destroyed. This keeps a terminal that closes from doing so after the disks have been closed.
struct ignore_late_hang_ups {
  ignore_late_hang_ups() = default;
  ~ignore_late_hang_ups() { std::signal(SIGHUP, SIG_IGN); }
  ignore_late_hang_ups(const ignore_late_hang_ups&) = delete;
  ignore_late_hang_ups& operator=(const ignore_late_hang_ups&) = delete;
};

asio::awaitable<void> serve(async::runtime& runtime, server_settings settings, tls_settings tls,
                            confinement* confined,
                            std::function<disk_service(const claimed_disks&)> prepare) {
  const ignore_late_hang_ups afterwards;
  // While this set exists, SIGHUP does not end the process: a terminal that closes may send it more
  // than once.
  const asio::signal_set hang_ups(runtime.control(), SIGHUP);
  apply_common_options(settings.exports, settings.name, settings.part, settings.read_only).value();
  disk_set disks(runtime, settings, tls, confined);
  co_await disks.serve(std::move(prepare));
}

}  // namespace

void add_disk_argument(cli::command& command, server_settings& settings) {
  settings.exports.resize(1);
  command.argument("DISK", settings.exports.front().disk, std::string(disk_help), cli::as_text);
}

void add_disk_options(cli::command& command, server_settings& settings) {
  add_device_options(command, settings.device);
  command.flag("--read-only", settings.read_only, "export read-only")
      .flag("--swap", settings.swap,
            "lock the server in memory, so that its clients can swap to the disk");
}

void add_client_options(cli::command& command, server_settings& settings) {
  command
      .option("--name EXPORT", settings.name, "name of the export (default: the disk's name)",
              cli::as_text)
      .option("--offset SIZE", settings.part.offset, "export from this byte of the disk on",
              parse_size)
      .option("--size SIZE", settings.part.size,
              "export this many bytes (default: up to the end of the disk)", parse_size)
      .option("-P, --partition N", settings.part.partition,
              "export only this partition, as numbered by Linux",
              cli::whole_number<unsigned>(1, 65535))
      .option("--max-connections N", settings.max_connections,
              "maximum number of clients at a time; others wait",
              cli::whole_number<unsigned>(1, 1024), {.by_default = "16"})
      .option("--progress-timeout DURATION", settings.progress_limit,
              "disconnect a client that, for this time, reads no replies or does not complete a "
              "request that it has begun to send; 0: never",
              parse_duration, {.by_default = "60s"})
      .option("--memory SIZE", settings.memory_limit,
              "memory for the data of requests, for all clients together; at least 128M",
              parse_memory, {.by_default = "256M"});
}

void with_disk_server(const server_settings& settings, const tls_options& tls,
                      std::function<disk_service(const claimed_disks&)> prepare) {
  // No other thread exists yet, so all threads inherit the settings.
  remember_terminal();
  protect_server(settings.swap ? served_for::swap : served_for::clients);
  (void)raise_descriptor_limit();
  // The helpers and the custodian start before keys are in memory.
  std::optional<confinement> confined;
  auto needs = settings.needs;
  needs.swap = settings.swap;
  if (settings.confined) confined.emplace(*settings.confined, needs);
  auto* const limits = confined ? &*confined : nullptr;
  async::runtime_options options;
  options.thread_name = "xenpv-disk";
  options.custodian = std::make_shared<xen::custodian>(
      xen::custodian::start(confined ? confined->custodian_starter() : xen::custodian_starter()));
  hide_keys();
  auto keys = read_tls_settings(tls);
  async::runtime runtime(std::move(options));
  // Then devices, disks and listeners, and confinement::apply() before the first client.
  runtime.run([&](async::runtime& self) {
    return serve(self, settings, std::move(keys), limits, std::move(prepare));
  });
}

}  // namespace xenpv::disk_app
