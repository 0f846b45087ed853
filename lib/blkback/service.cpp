#include "blkback/service.hpp"

#include <fmt/format.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <memory>

#include "async/nursery.hpp"
#include "base/parse.hpp"
#include "blkback/disk.hpp"
#include "wire/simulated_disk.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::blkback {
namespace {

constexpr auto kinds = {"vbd", "qdisk"};

/// All disks of this domain. Runs on the control thread.
class service {
 public:
  explicit service(async::runtime& runtime) : runtime_(runtime), children_(runtime.control()) {}

  [[nodiscard]] asio::awaitable<void> run(serve_options& options);

 private:
  [[nodiscard]] asio::awaitable<void> start(serve_options& options);
  [[nodiscard]] asio::awaitable<void> find_disks();
  [[nodiscard]] asio::awaitable<void> follow(async::watch_stream watch);
  [[nodiscard]] asio::awaitable<void> handle_change(std::string path);
  [[nodiscard]] asio::awaitable<bool> is_external(std::string directory);
  [[nodiscard]] asio::awaitable<void> await_stop(int descriptor, std::function<void()> stopping);
  [[nodiscard]] asio::awaitable<void> serve_disk(std::string directory,
                                                 std::shared_ptr<disk> served);
  void add(std::string directory, std::string kind, bool restarted);
  [[nodiscard]] std::shared_ptr<medium> find_medium(const disk_plan& plan);

  async::runtime& runtime_;
  async::nursery children_;
  std::map<std::string, std::shared_ptr<disk>, std::less<>> disks_;
  /// Media by name, so that a disk whose directory moves (save and restore) keeps its medium.
  std::map<std::string, std::shared_ptr<medium>, std::less<>> media_;
};

std::shared_ptr<medium> service::find_medium(const disk_plan& plan) {
  // Do not share files: a file can be opened again by its path.
  if (plan.medium.empty() || plan.store != disk_store::memory) return medium::open(plan);
  auto& known = media_[plan.medium];
  if (!known) known = medium::open(plan);
  return known;
}

void service::add(std::string directory, std::string kind, bool restarted) {
  auto source = [this](const disk_plan& plan) { return find_medium(plan); };
  disk_place place{directory, std::move(kind)};
  auto served = std::make_shared<disk>(runtime_, std::move(place), source, restarted);
  disks_[directory] = served;
  children_.spawn(serve_disk(std::move(directory), std::move(served)));
}

asio::awaitable<void> service::serve_disk(std::string directory, std::shared_ptr<disk> served) {
  std::string problem;
  try {
    co_await served->serve();
  } catch (const failure& e) {
    // A lost connection to xenstored stops the service; any other error stops only this disk.
    if (e.code() == errc::lost_connection) throw;
    problem = e.what();
  }
  if (!problem.empty()) log().error("{}: {}", directory, problem);
  disks_.erase(directory);
  // The toolstack may have recreated the directory during the disk's teardown.
  if (problem.empty()) co_await handle_change(directory);
}

asio::awaitable<void> service::find_disks() {
  auto& store = runtime_.store();
  for (const std::string kind : kinds) {
    const auto top = "backend/" + kind;
    const auto domains = co_await store.list_if_exists(top);
    if (!domains) continue;
    for (const auto& domain : *domains) {
      const auto devices = co_await store.list_if_exists(fmt::format("{}/{}", top, domain));
      if (!devices) continue;
      for (const auto& device : *devices) {
        auto directory = fmt::format("{}/{}/{}", top, domain, device);
        const bool external = co_await is_external(directory);
        if (!external && !disks_.contains(directory)) add(std::move(directory), kind, true);
      }
    }
  }
}

/// Whether another program serves the disk (wire/simulated_disk.hpp).
asio::awaitable<bool> service::is_external(std::string directory) {
  const auto backend = co_await runtime_.store().read_if_exists(directory + "/xenpv/backend");
  co_return backend.has_value() && wire::is_external_backend(*backend);
}

/// Handles a change at `path`: wakes the disk to which the path belongs, or starts serving a disk
/// that the toolstack has just created.
asio::awaitable<void> service::handle_change(std::string path) {
  const auto parts = split(path, '/');
  if (parts.size() < 4 || (parts[1] != "vbd" && parts[1] != "qdisk")) co_return;
  std::string kind(parts[1]);
  auto directory = fmt::format("backend/{}/{}/{}", kind, parts[2], parts[3]);
  if (const auto known = disks_.find(directory); known != disks_.end()) {
    known->second->wake();
    co_return;
  }
  // Serve only a new directory, which starts in Initialising, and not one that was left in Closed.
  const auto state = co_await runtime_.store().read_if_exists(directory + "/state");
  if (state != "1") co_return;
  const bool external = co_await is_external(directory);
  if (!external && !disks_.contains(directory)) add(std::move(directory), std::move(kind), false);
}

asio::awaitable<void> service::follow(async::watch_stream watch) {
  for (;;) {
    auto event = co_await watch.next();
    if (!event.overflowed) {
      co_await handle_change(std::move(event.path));
      continue;
    }
    for (const auto& known : disks_)
      known.second->wake();
    co_await find_disks();
  }
}

asio::awaitable<void> service::await_stop(int descriptor, std::function<void()> stopping) {
  asio::posix::stream_descriptor stop(runtime_.control(),
                                      unique_fd::duplicate(descriptor).release());
  co_await stop.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
  if (stopping) stopping();
  children_.cancel();
}

asio::awaitable<void> service::start(serve_options& options) {
  auto watch = co_await runtime_.store().watch("backend");
  co_await find_disks();
  children_.spawn(follow(std::move(watch)));
  const auto present = disks_;
  for (const auto& entry : present)
    co_await entry.second->announced();
  if (options.ready) options.ready();
  children_.spawn(await_stop(options.stop_descriptor, std::move(options.stopping)));
}

asio::awaitable<void> service::run(serve_options& options) {
  auto clean_up = [this] {
    children_.cancel();
    return children_.join();
  };
  co_await async::clean_up_on_failure(start(options), clean_up);
  co_await children_.join();
}

asio::awaitable<void> serve_on(async::runtime& runtime, serve_options& options) {
  service disks(runtime);
  co_await disks.run(options);
}

}  // namespace

void serve(serve_options options) {
  async::runtime_options settings;
  settings.cpus = options.cpus;
  settings.thread_name = "xen-blkback";
  // Run without a custodian (a helper process that keeps descriptors open and closes devices after
  // a crash): a backend domain is not saved and restored, and frontends recover if it crashes.
  settings.with_custodian = false;
  async::runtime runtime(std::move(settings));
  auto main = [&](async::runtime& started) { return serve_on(started, options); };
  runtime.run(main);
}

}  // namespace xenpv::blkback
