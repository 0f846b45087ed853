#include "blkback/service.hpp"

#include <fmt/format.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <memory>

#include "blkback/disk.hpp"
#include "xenpv/async/nursery.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/parse.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::blkback {
namespace {

namespace asio = async::asio;

constexpr auto kinds = {"vbd", "qdisk"};

/// All disks of this domain. Lives on the control thread.
class service {
 public:
  explicit service(async::runtime& on) : runtime_(on), children_(on.control()) {}

  [[nodiscard]] asio::awaitable<void> run(serve_options& options);

 private:
  [[nodiscard]] asio::awaitable<void> start(serve_options& options);
  [[nodiscard]] asio::awaitable<void> find_disks();
  [[nodiscard]] asio::awaitable<void> follow(async::watch_stream watch);
  [[nodiscard]] asio::awaitable<void> notice(std::string path);
  [[nodiscard]] asio::awaitable<void> await_stop(int descriptor, std::function<void()> stopping);
  [[nodiscard]] asio::awaitable<void> serve_disk(std::string directory, std::shared_ptr<disk> one);
  void add(std::string directory, std::string kind, bool restarted);
  [[nodiscard]] std::shared_ptr<medium> find_medium(const disk_plan& plan);

  async::runtime& runtime_;
  async::nursery children_;
  std::map<std::string, std::shared_ptr<disk>, std::less<>> disks_;
  /// By name: a disk whose directory moves (save and restore) finds its bytes again.
  std::map<std::string, std::shared_ptr<medium>, std::less<>> media_;
};

std::shared_ptr<medium> service::find_medium(const disk_plan& plan) {
  // What lies in a file is found again by its path.
  if (plan.medium.empty() || plan.store != store_kind::memory) return medium::open(plan);
  auto& known = media_[plan.medium];
  if (!known) known = medium::open(plan);
  return known;
}

void service::add(std::string directory, std::string kind, bool restarted) {
  auto source = [this](const disk_plan& plan) { return find_medium(plan); };
  disk_place place{directory, std::move(kind)};
  auto one = std::make_shared<disk>(runtime_, std::move(place), source, restarted);
  disks_[directory] = one;
  children_.spawn(serve_disk(std::move(directory), std::move(one)));
}

asio::awaitable<void> service::serve_disk(std::string directory, std::shared_ptr<disk> one) {
  std::string problem;
  try {
    co_await one->serve();
  } catch (const failure& why) {
    // Without xenstored there is nothing left to serve; anything else is this disk's own.
    if (why.code() == errc::lost_connection) throw;
    problem = why.what();
  }
  if (!problem.empty()) log().error("{}: {}", directory, problem);
  disks_.erase(directory);
  // The toolstack may have made the directory anew while this one took its leave.
  if (problem.empty()) co_await notice(directory);
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
        if (!disks_.contains(directory)) add(std::move(directory), kind, true);
      }
    }
  }
}

/// Something changed: wakes the disk it belongs to, or starts serving one that a toolstack just
/// made.
asio::awaitable<void> service::notice(std::string path) {
  const auto parts = split(path, '/');
  if (parts.size() < 4 || (parts[1] != "vbd" && parts[1] != "qdisk")) co_return;
  std::string kind(parts[1]);
  auto directory = fmt::format("backend/{}/{}/{}", kind, parts[2], parts[3]);
  if (const auto known = disks_.find(directory); known != disks_.end()) {
    known->second->wake();
    co_return;
  }
  // What we left in Closed is not for us to take up again; a new directory begins in Initialising.
  const auto state = co_await runtime_.store().read_if_exists(directory + "/state");
  if (state == "1" && !disks_.contains(directory))
    add(std::move(directory), std::move(kind), false);
}

asio::awaitable<void> service::follow(async::watch_stream watch) {
  for (;;) {
    auto event = co_await watch.next();
    if (!event.overflowed) {
      co_await notice(std::move(event.path));
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
  for (const auto& each : present)
    co_await each.second->announced();
  if (options.ready) options.ready();
  children_.spawn(await_stop(options.stop_descriptor, std::move(options.stopping)));
}

asio::awaitable<void> service::run(serve_options& options) {
  std::exception_ptr error;
  try {
    co_await start(options);
  } catch (...) {
    error = std::current_exception();
    children_.cancel();
  }
  co_await children_.join();
  if (error) std::rethrow_exception(error);
}

asio::awaitable<void> serve_on(async::runtime& on, serve_options& options) {
  service all(on);
  co_await all.run(options);
}

}  // namespace

void serve(serve_options options) {
  async::runtime_options wanted;
  wanted.cpus = options.cpus;
  wanted.thread_name = "xen-blkback";
  // A backend's domain is not saved and restored, and a frontend survives its death by itself.
  wanted.with_custodian = false;
  async::runtime on(std::move(wanted));
  auto main = [&](async::runtime& started) { return serve_on(started, options); };
  on.run(main);
}

}  // namespace xenpv::blkback
