#include "ublk/attachment.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <limits>
#include <utility>
#include <vector>

#include "async/blocking_calls_thread.hpp"
#include "async/nursery.hpp"
#include "async/signal.hpp"
#include "ublk/device_name.hpp"
#include "ublk/leftovers.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::ublk {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds poll_interval(50);
/// The time after which the kernel detects that a server has died with all tags of a queue in use.
/// The timeout has no effect while the server is running.
constexpr std::uint32_t notice_death_ms = 2000;

/// The number of pages of the queue that has the fewest.
asio::awaitable<std::size_t> least_pages_of(blk::block_device& device) {
  auto out = std::numeric_limits<std::size_t>::max();
  for (std::size_t i = 0; i < device.queue_count(); ++i) {
    auto& queue = device.queue(i);
    auto count = [&queue] { return queue.pages()->size(); };
    out = std::min(out, co_await async::call_on(queue.get_executor(), count));
  }
  co_return out;
}

}  // namespace

std::string_view to_string(attachment_state state) noexcept {
  switch (state) {
    case attachment_state::absent:
      return "absent";
    case attachment_state::starting:
      return "starting";
    case attachment_state::live:
      return "live";
    case attachment_state::stopping:
      return "stopping";
    case attachment_state::left:
      return "left";
    case attachment_state::gone:
      return "gone";
  }
  return "unknown";
}

class attachment::implementation : public std::enable_shared_from_this<attachment::implementation> {
 public:
  implementation(const asio::any_io_executor& control, blk::block_device& device,
                 const blk::geometry& geometry, std::shared_ptr<kernel_driver> driver,
                 attachment_options options)
      : control_executor_(control),
        device_(device),
        geometry_(geometry),
        driver_(std::move(driver)),
        control_(driver_),
        options_(options),
        changed_(control),
        commands_(async::make_thread_for_blocking_calls()) {}

  asio::awaitable<void> start() {
    state_ = attachment_state::starting;
    if (options_.adopted) {
      auto release = [this] { return close_device(attachment_state::left); };
      co_await async::clean_up_on_failure(take_over(*options_.adopted), release);
    } else {
      auto undo = [this] { return remove_new(); };
      co_await async::clean_up_on_failure(create(), undo);
    }
    state_ = attachment_state::live;
    if (options_.keep) co_await notice_death_soon();
  }

  void use(std::shared_ptr<device_control> control) {
    control_ = std::move(control);
    driver_.reset();
  }

  [[nodiscard]] attachment_state state() const noexcept { return state_; }
  [[nodiscard]] std::uint32_t index() const noexcept { return info_.dev_id; }
  [[nodiscard]] std::string path() const { return device_path(info_.dev_id); }
  [[nodiscard]] const device_plan& plan() const noexcept { return plan_; }
  [[nodiscard]] bool can_resize() const noexcept { return (info_.flags & f_update_size) != 0; }

  asio::awaitable<void> run() {
    while (state_ == attachment_state::live || state_ == attachment_state::stopping) {
      const int error = refused_command();
      if (error != 0 && state_ == attachment_state::live)
        throw_errno(error, fmt::format("serve {}: the kernel refused a command", path()));
      if (state_ == attachment_state::live && all_ended()) {
        log().info("{}: stopped by another process", path());
        state_ = attachment_state::stopping;
        co_await async::shielded(finish_stop());
      } else if (state_ == attachment_state::live && size_changed()) {
        co_await send_size();
      } else {
        co_await changed_.wait();
      }
    }
  }

  void reshape(const blk::geometry& geometry) {
    geometry_ = geometry;
    changed_.notify();
  }

  asio::awaitable<void> stop() {
    if (state_ != attachment_state::live) co_return;
    state_ = attachment_state::stopping;
    changed_.notify();
    async::nursery watch(control_executor_);
    watch.spawn(fail_when_stalled());
    auto end_watch = [&] {
      watch.cancel();
      return watch.join();
    };
    co_await async::finally(stop_device(), end_watch);
    co_await finish_stop();
  }

  asio::awaitable<void> leave() {
    if (state_ != attachment_state::live) co_return;
    state_ = attachment_state::stopping;
    co_await on_queues([](queue_server& queue) { queue.leave(); });
    const auto deadline = steady_clock::now() + options_.drain_limit;
    while (steady_clock::now() < deadline) {
      const auto statistics = co_await total_statistics();
      if (statistics.in_service == 0) break;
      co_await pause_before(deadline);
    }
    co_await close_device(attachment_state::left);
  }

 private:
  struct served_queue {
    asio::any_io_executor executor;
    std::shared_ptr<queue_server> server;
    bool ended = false;  ///< as last reported to the control thread
    int error = 0;       ///< likewise
  };

  // ---- the beginning

  asio::awaitable<void> create() {
    const auto features = co_await on_commands([this] { return driver_->features(); });
    check_features(features).value();
    const auto pages = co_await least_pages_of(device_);
    plan_ = choose_plan(geometry_, device_.queue_count(), pages);
    dev_info request;
    request.nr_hw_queues = plan_.queues;
    request.queue_depth = plan_.depth;
    request.max_io_buf_bytes = plan_.max_io_bytes;
    request.flags = flags_for(features, options_.keep);
    request.ublksrv_flags = options_.token;
    if (options_.index) request.dev_id = *options_.index;
    params_ = params_for(geometry_, options_.read_only, plan_).value();
    const auto deadline = steady_clock::now() + options_.takeover_limit;
    while (!co_await on_commands([this] { return remove_leftovers(*driver_, options_.token); }))
      co_await pause_until(deadline, "create a ublk device");
    info_ = co_await on_commands([this, request] { return driver_->add(request); });
    is_added_ = true;
    plan_.queues = info_.nr_hw_queues;
    plan_.depth = info_.queue_depth;
    co_await on_commands([this] { driver_->set_params(index(), params_); });
    co_await open_queues();
    co_await with_start_limit([this] { driver_->start(index(), options_.process); });
    log().debug("{}: created, {} queues of {} requests", path(), plan_.queues, plan_.depth);
  }

  asio::awaitable<void> take_over(std::uint32_t number) {
    info_.dev_id = number;
    const auto found = co_await on_commands([this] { return driver_->get_info(index()); });
    const auto action = fmt::format("take over {}", path());
    if (!found || found->ublksrv_flags != options_.token)
      throw failure(errc::not_available, action, "it no longer exists, or is not of this disk");
    info_ = *found;
    params_ = co_await on_commands([this] { return driver_->get_params(index()); });
    const auto pages = co_await least_pages_of(device_);
    plan_ = plan_for_takeover(info_, params_, geometry_, options_.read_only, pages).value();
    const auto deadline = steady_clock::now() + options_.takeover_limit;
    while (!co_await on_commands([this] { return driver_->start_recovery(index()); }))
      co_await pause_until(deadline, action);
    co_await open_queues();
    co_await on_commands([this] { driver_->end_recovery(index(), options_.process); });
    log().debug("{}: taken over, {} queues of {} requests", path(), plan_.queues, plan_.depth);
  }

  asio::awaitable<void> open_queues() {
    const auto deadline = steady_clock::now() + options_.takeover_limit;
    const auto action = fmt::format("open /dev/ublkc{}", index());
    for (;;) {
      kernel_ = co_await on_commands([this] { return driver_->open(index()); });
      if (kernel_) break;
      co_await pause_until(deadline, action);
    }
    queues_.resize(plan_.queues);
    for (std::size_t i = 0; i < queues_.size(); ++i) {
      auto& served = queues_[i];
      auto& queue = device_.queue(i % device_.queue_count());
      served.executor = queue.get_executor();
      auto open = [this, i, &served, &queue] {
        auto opened =
            kernel_->open_queue(served.executor, static_cast<std::uint16_t>(i), plan_.depth);
        served.server = std::make_shared<queue_server>(queue, std::move(opened), plan_.depth,
                                                       plan_.max_io_bytes, report_from(i));
      };
      co_await async::call_on(served.executor, open);
    }
    co_await start_queues();
  }

  /// Separate from opening, which may fail: Linux cannot recover a device of which some queues have
  /// been given all their tags, and others have not.
  asio::awaitable<void> start_queues() {
    for (auto& served : queues_) {
      auto start = [&served] {
        served.server->start();
        return served.server->error();
      };
      const int error = co_await async::call_on(served.executor, start);
      if (error != 0)
        throw_errno(error,
                    fmt::format("serve /dev/ublkc{}: the kernel refused a command", index()));
    }
  }

  /// Passes the queue's state to the control thread.
  std::function<void(const queue_server&)> report_from(std::size_t i) {
    return [weak = weak_from_this(), i, control = control_executor_](const queue_server& server) {
      asio::post(control, [weak, i, ended = server.ended(), error = server.error()] {
        const auto self = weak.lock();
        if (!self || i >= self->queues_.size()) return;
        self->queues_[i].ended = ended;
        self->queues_[i].error = error;
        self->changed_.notify();
      });
    };
  }

  /// Runs a command that waits for requests which this process serves. After start_limit, the
  /// requests fail, and with them the start.
  asio::awaitable<void> with_start_limit(std::function<void()> command) {
    const auto expired = std::make_shared<bool>(false);
    asio::steady_timer timeout(control_executor_, options_.start_limit);
    timeout.async_wait([expired, self = shared_from_this()](boost::system::error_code code) {
      if (code) return;
      *expired = true;
      self->fail_requests();
    });
    co_await on_commands(std::move(command));
    timeout.cancel();
    if (*expired)
      throw failure(errc::timed_out, fmt::format("start {}", path()),
                    "the backend does not answer the kernel's first requests");
  }

  asio::awaitable<void> remove_new() {
    if (!is_added_) co_return;
    co_await try_command([this] { control_->stop(index()); }, "the start failed");
    co_await finish_stop();
  }

  asio::awaitable<void> notice_death_soon() {
    co_await try_command([this] { driver_->limit_requests(index(), notice_death_ms); },
                         "the next server may have to wait for 30 s");
  }

  // ---- changes

  [[nodiscard]] std::uint64_t sectors() const {
    return geometry_.size / geometry_.sector_size * (geometry_.sector_size / sector_bytes);
  }
  [[nodiscard]] bool size_changed() const { return sectors() != params_.basic.dev_sectors; }
  [[nodiscard]] bool is_read_only() const { return (params_.basic.attrs & attr_read_only) != 0; }

  asio::awaitable<void> send_size() {
    const auto size = sectors();
    const auto before = std::exchange(params_.basic.dev_sectors, size);
    if (!can_resize()) {
      log().warn(
          "{}: the disk has {} bytes now, but this kernel cannot change the size of a ublk device "
          "({} bytes; Linux 6.16 or later can): detach and attach it again, or use --driver nbd",
          path(), geometry_.size, before * sector_bytes);
      co_return;
    }
    try {
      co_await on_commands([this, size] { control_->update_size(index(), size); });
    } catch (const failure& problem) {
      // The device is still usable with its previous size.
      log().warn("{}: {}: it keeps its size of {} bytes", path(), problem.what(),
                 before * sector_bytes);
      co_return;
    }
    log().info("{}: resized to {} bytes", path(), size * sector_bytes);
  }

  // ---- the end

  asio::awaitable<void> stop_device() {
    if (!is_read_only())
      co_await try_command([this] { control_->write_back(index()); },
                           "some written data may not have reached the disk");
    co_await try_command([this] { control_->stop(index()); }, "detach it with xenpv-disk detach");
  }

  [[nodiscard]] bool all_ended() const {
    return std::ranges::all_of(queues_, [](const served_queue& queue) { return queue.ended; });
  }
  [[nodiscard]] int refused_command() const {
    for (const auto& queue : queues_)
      if (queue.error != 0) return queue.error;
    return 0;
  }

  void fail_requests() {
    for (auto& queue : queues_)
      asio::post(queue.executor, [server = queue.server] {
        if (server) server->fail_all();
      });
  }

  asio::awaitable<queue_statistics> total_statistics() {
    queue_statistics out;
    for (auto& queue : queues_) {
      auto get = [&queue] { return queue.server->statistics(); };
      const auto statistics = co_await async::call_on(queue.executor, get);
      out.requests += statistics.requests;
      out.in_service += statistics.in_service;
    }
    co_return out;
  }

  /// Fails all requests once none has completed for drain_limit, so that a large page cache may be
  /// written back to a slow disk, but a disk that does not respond delays nothing for longer.
  asio::awaitable<void> fail_when_stalled() {
    std::uint64_t completed = 0;
    auto deadline = steady_clock::now() + options_.drain_limit;
    while (steady_clock::now() < deadline) {
      co_await pause_before(deadline);
      const auto now = co_await total_statistics();
      if (std::exchange(completed, now.requests - now.in_service) != completed)
        deadline = steady_clock::now() + options_.drain_limit;
    }
    fail_requests();
  }

  asio::awaitable<void> pause_before(steady_clock::time_point deadline) {
    asio::steady_timer timer(control_executor_,
                             std::min(deadline, steady_clock::now() + poll_interval));
    co_await timer.async_wait(asio::use_awaitable);
  }

  asio::awaitable<void> finish_stop() {
    co_await close_device(attachment_state::stopping);
    co_await try_command([this] { control_->remove(index()); },
                         "remove it with xenpv-disk detach, unless another process has done so");
    state_ = attachment_state::gone;
    changed_.notify();
  }

  asio::awaitable<void> close_device(attachment_state next) {
    for (auto& queue : queues_) {
      if (!queue.server) continue;
      auto close = [&queue] { queue.server->close(); };
      co_await async::call_on(queue.executor, close);
      queue.server.reset();
    }
    queues_.clear();
    kernel_.reset();
    state_ = next;
    changed_.notify();
  }

  asio::awaitable<void> on_queues(std::function<void(queue_server&)> action) {
    for (auto& queue : queues_)
      co_await async::call_on(queue.executor, [&] { action(*queue.server); });
  }

  // ---- commands

  template <class Function>
  asio::awaitable<std::invoke_result_t<Function&>> on_commands(Function command) {
    return async::call_on(commands_->get_executor(), std::move(command));
  }

  asio::awaitable<void> try_command(std::function<void()> command, std::string_view consequence) {
    try {
      co_await on_commands(std::move(command));
    } catch (const failure& problem) {
      log().warn("{}: {}: {}", path(), problem.what(), consequence);
    }
  }

  asio::awaitable<void> pause_until(steady_clock::time_point deadline, const std::string& action) {
    if (steady_clock::now() >= deadline)
      throw failure(errc::timed_out, action,
                    "the kernel has not finished with the previous server; is it still running?");
    asio::steady_timer timer(control_executor_, poll_interval);
    co_await timer.async_wait(asio::use_awaitable);
  }

  asio::any_io_executor control_executor_;
  blk::block_device& device_;
  blk::geometry geometry_;
  std::shared_ptr<kernel_driver> driver_;    ///< null after use()
  std::shared_ptr<device_control> control_;  ///< used on the thread of `commands_`
  attachment_options options_;
  device_plan plan_;
  dev_info info_;
  params params_;  ///< as the kernel has them
  std::shared_ptr<kernel_device> kernel_;
  std::vector<served_queue> queues_;
  attachment_state state_ = attachment_state::absent;
  bool is_added_ = false;
  async::signal changed_;
  std::unique_ptr<asio::thread_pool> commands_;  ///< declared last so that it is joined first
};

attachment::attachment(const asio::any_io_executor& control, blk::block_device& device,
                       const blk::geometry& geometry, std::shared_ptr<kernel_driver> driver,
                       attachment_options options)
    : implementation_(std::make_shared<implementation>(control, device, geometry, std::move(driver),
                                                       options)) {}

attachment::~attachment() = default;

asio::awaitable<void> attachment::start() {
  return implementation_->start();
}

void attachment::use(std::shared_ptr<device_control> control) {
  implementation_->use(std::move(control));
}

attachment_state attachment::state() const noexcept {
  return implementation_->state();
}

std::uint32_t attachment::index() const noexcept {
  return implementation_->index();
}

std::string attachment::path() const {
  return implementation_->path();
}

const device_plan& attachment::plan() const noexcept {
  return implementation_->plan();
}

bool attachment::can_resize() const noexcept {
  return implementation_->can_resize();
}

asio::awaitable<void> attachment::run() {
  return implementation_->run();
}

void attachment::reshape(const blk::geometry& geometry) {
  implementation_->reshape(geometry);
}

asio::awaitable<void> attachment::stop() {
  return implementation_->stop();
}

asio::awaitable<void> attachment::leave() {
  return implementation_->leave();
}

}  // namespace xenpv::ublk
