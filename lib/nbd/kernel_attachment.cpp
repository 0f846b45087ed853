#include "xenpv/nbd/kernel_attachment.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "async/blocking_calls_thread.hpp"
#include "async/nursery.hpp"
#include "async/signal.hpp"
#include "base/device_opening.hpp"
#include "nbd/kernel_device.hpp"
#include "nbd/kernel_links.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::nbd {
namespace {

using asio::posix::stream_descriptor;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds first_pause(20);
constexpr milliseconds longest_pause(1000);
constexpr unsigned most_short_lived = 20;
/// How long to retry if the requested device is busy because another process, such as udev, is
/// probing it.
constexpr milliseconds busy_limit(2000);
/// The sizes of the kernel's requests: at least the kernel's default.
constexpr std::uint64_t least_transfer = 128U << 10U;
constexpr std::uint64_t most_transfer = 4U << 20U;
/// The largest positive value that queue/io_timeout accepts: 24 days.
constexpr milliseconds no_limit(2147483647);

}  // namespace

class kernel_attachment::state : public std::enable_shared_from_this<kernel_attachment::state> {
 public:
  state(const asio::any_io_executor& control, server& nbd_server, kernel_driver driver,
        const blk::geometry& geometry, attachment_options options)
      : control_(control),
        server_(nbd_server),
        driver_(std::move(driver)),
        options_(std::move(options)),
        geometry_(geometry),
        kernel_geometry_(geometry),
        links_(std::make_shared<kernel_links>(
            nbd_server, options_.connections, options_.queues, [this] { link_ended(); },
            driver_.delegate())),
        changed_(control),
        worker_(async::make_thread_for_blocking_calls()) {}

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::uint32_t index() const noexcept { return index_; }
  [[nodiscard]] bool is_connected() const noexcept {
    // After the kernel has released the device, another process may be using it.
    return !path_.empty() && !stopping_ && !released_ && !links_->disconnect_received();
  }

  asio::awaitable<void> connect() {
    if (options_.adopted) return adopt(*options_.adopted);
    // After a failure or a cancellation, removes the device if it was created.
    return async::clean_up_on_failure(create(), [this] { return disconnect(false); });
  }

  void leave_behind() noexcept {
    stopping_ = true;
    changed_.notify();
    give_up_opening();
  }

  asio::awaitable<void> run() {
    async::nursery listeners(control_);
    listeners.spawn(listen_for_dead_links());
    auto clean_up = [&] {
      listeners.cancel();
      return listeners.join();
    };
    co_await async::finally(keep_going(), clean_up);
  }

  void reshape(const blk::geometry& geometry) {
    geometry_ = geometry;
    changed_.notify();
  }

  asio::awaitable<void> disconnect(bool write_back) {
    if (!is_connected()) co_return;
    stopping_ = true;
    if (write_back && !kernel_geometry_.read_only) co_await flush_page_cache();
    asio::steady_timer timeout(control_, options_.drain_limit);
    timeout.async_wait([self = shared_from_this()](boost::system::error_code code) {
      if (!code) self->server_.hang_up();
    });
    try {
      auto ask = [this] { driver_.disconnect(index_); };
      co_await on_worker(ask);
    } catch (const failure& problem) {
      log().error("{}", problem.what());
    }
    timeout.cancel();
    changed_.notify();
  }

 private:
  // ---- the kernel

  asio::awaitable<void> create() {
    auto kernel_sockets = links_->renew();
    kernel_device_config config;
    config.index = options_.index;
    config.size = kernel_geometry_.size;
    config.block_size = kernel_geometry_.sector_size;
    config.flags = server_.transmission_flags();
    config.timeout = options_.timeout;
    config.dead_timeout = options_.dead_timeout;
    config.identifier = options_.identifier;
    for (const auto& socket : kernel_sockets)
      config.sockets.push_back(socket.get());
    co_await ask_for_device(config);
    kernel_sockets.clear();
    path_ = kernel_device_path(index_);
    log().debug("{}: created, {} connections", path_, links_->count());
    co_await open_once(device_opening::purpose::scan, options_.open_limit);
    co_await set_request_limit();
    co_await prepare_queue();
  }

  /// The device's requests should not be smaller than the disk's, and the backend orders requests
  /// better than this guest.
  asio::awaitable<void> prepare_queue() {
    const auto kilobytes = static_cast<std::uint32_t>(
        std::clamp(kernel_geometry_.preferred_transfer, least_transfer, most_transfer) >> 10U);
    auto prepare = [this, kilobytes] {
      if (driver_.delegate() != nullptr)
        driver_.delegate()->prepare_queue(kilobytes);
      else
        prepare_kernel_queue(index_, kilobytes, options_.root);
    };
    co_await try_on_worker(prepare, "the kernel splits large requests");
  }

  /// Runs on the control thread instead of the worker: without a delegate, /sys/block/nbdN/pid
  /// shows the ID of the calling thread, which must be this process's ID. The request does not wait
  /// for I/O that this process serves.
  asio::awaitable<void> ask_for_device(const kernel_device_config& config) {
    const auto deadline = steady_clock::now() + busy_limit;
    for (;;) {
      std::string problem;
      try {
        index_ = driver_.connect(config);
      } catch (const failure& refused) {
        const bool may_pass = config.index &&
                              refused.code() == std::errc::device_or_resource_busy &&
                              !kernel_device_owner(*config.index, options_.root);
        if (!may_pass || steady_clock::now() >= deadline) throw;
        problem = refused.what();
      }
      if (problem.empty()) co_return;
      log().debug("{}; retrying", problem);
      co_await pause(longest_pause / 10);
    }
  }

  asio::awaitable<void> adopt(std::uint32_t index) {
    index_ = index;
    path_ = kernel_device_path(index);
    driver_.adopt(kernel_device_identifier(index, options_.root).value_or(std::string()));
    // Start with the kernel's size; run() then updates it.
    kernel_geometry_.size =
        kernel_device_size(index, options_.root).value_or(kernel_geometry_.size);
    device_timeouts timeouts;
    // Not sent needlessly: Linux before 5.9 misinterprets 0.
    if (options_.timeout.count() > 0 || options_.adopted_timeout.count() > 0)
      timeouts.request = options_.timeout;
    timeouts.dead = options_.dead_timeout;
    co_await give_sockets(timeouts);
    if (released_)
      throw failure(errc::not_available, fmt::format("take over {}", path_),
                    "the kernel has released it");
    // Removing a timeout has reset the limit.
    if (options_.adopted_timeout.count() > 0) co_await set_request_limit();
    log().debug("{}: taken over, {} connections", path_, links_->count());
  }

  /// Sets the kernel's request timeout unless the user has set one. When the timeout expires on a
  /// device with one connection, the driver resends the request only if the connection has been
  /// replaced in the meantime. With several connections, the driver declares the connection dead
  /// and resends the request over another one, while the disk may still process the original. Only
  /// a timeout that is never reached prevents this. The drawback: requests that a killed server
  /// left unanswered wait until the device is disconnected. For a kept device, resending is more
  /// important.
  asio::awaitable<void> set_request_limit() {
    if (options_.timeout.count() > 0) co_return;
    if (links_->count() > 1 && !options_.keep)
      co_await write_request_limit(no_limit, "the kernel resends slow requests after 30 s");
    else if (links_->count() == 1 && options_.keep)
      co_await write_request_limit(options_.resend_after,
                                   "the kernel resends requests of a dead server after 30 s");
    else if (options_.keep)
      log().warn(
          "{}: the device is kept and has {} connections, so the kernel resends requests that take "
          "30 s; with one connection, it would wait for them",
          path_, links_->count());
  }
  asio::awaitable<void> write_request_limit(std::chrono::milliseconds limit,
                                            std::string_view consequence) {
    auto write = [this, limit] {
      if (driver_.delegate() != nullptr)
        driver_.delegate()->limit_requests(limit);
      else
        limit_kernel_requests(index_, limit, options_.root);
    };
    co_await try_on_worker(write, consequence);
  }

  /// Runs `ask` on the worker thread because `ask` may wait for I/O that this process serves.
  template <class Function>
  asio::awaitable<std::invoke_result_t<Function&>> on_worker(Function ask) {
    return async::call_on(worker_->get_executor(), std::move(ask));
  }

  /// Changes a setting without which the device still works. A failure has this `consequence`.
  asio::awaitable<void> try_on_worker(std::function<void()> change, std::string_view consequence) {
    try {
      co_await on_worker(std::move(change));
    } catch (const failure& problem) {
      log().warn("{}: {}: {}", path_, problem.what(), consequence);
    }
  }

  [[nodiscard]] bool geometry_changed() const {
    return geometry_.size != kernel_geometry_.size ||
           geometry_.sector_size != kernel_geometry_.sector_size;
  }

  asio::awaitable<void> keep_going() {
    for (;;) {
      const bool ends = stopping_ || links_->disconnect_received();
      if (ends && links_->alive() == 0) co_return;
      if (!ends && geometry_changed()) {
        co_await send_geometry();
      } else if (!ends && links_->alive() < links_->count()) {
        co_await replace_links();
        if (released_) co_return;
      } else {
        co_await changed_.wait();
      }
    }
  }

  asio::awaitable<void> send_geometry() {
    kernel_geometry_ = geometry_;
    auto ask = [this] {
      driver_.resize(index_, kernel_geometry_.size, kernel_geometry_.sector_size);
    };
    co_await on_worker(ask);
    if (stopping_) co_return;
    // Opening the device makes the kernel rescan the partitions and, in older kernels, the size.
    try {
      co_await open_once(device_opening::purpose::scan, options_.open_limit);
    } catch (...) {
      // The error does not matter if the attachment is stopping.
      if (!stopping_) throw;
      co_return;
    }
    const auto shown = kernel_device_size(index_, options_.root);
    const auto expected =
        kernel_geometry_.size / kernel_geometry_.sector_size * kernel_geometry_.sector_size;
    if (shown && *shown != expected && !geometry_changed())
      log().warn("{}: the kernel still uses {} bytes, but the disk has {}; detach and reattach it",
                 path_, *shown, kernel_geometry_.size);
    else
      log().info("{}: resized to {} bytes", path_, kernel_geometry_.size);
  }

  asio::awaitable<void> replace_links() {
    const auto short_lived = links_->short_lived();
    if (short_lived > most_short_lived)
      throw failure(make_error_code(errc::lost_connection), fmt::format("keep {}", path_),
                    "every new connection dies immediately");
    // The kernel shuts a socket down before it marks the socket as dead. Until then, it drops new
    // sockets.
    if (short_lived <= 1) deaths_logged_ = false;
    if (short_lived > 0) co_await pause(std::min(longest_pause, first_pause * (1U << short_lived)));
    auto ask_state = [this] { return driver_.is_connected(index_).value_or(false); };
    const bool connected = co_await on_worker(ask_state);
    if (!connected) {
      log().info("{}: released by the kernel", path_);
      released_ = true;
      co_return;
    }
    const auto level = std::exchange(deaths_logged_, true) ? log_level::debug : log_level::warning;
    const auto text = fmt::format("{}: {} of {} connections died; replacing them", path_,
                                  links_->count() - links_->alive(), links_->count());
    log().write(level, "{}", fmt::make_format_args(text));
    co_await give_sockets();
    if (released_) log().info("{}: released by the kernel, but still open", path_);
  }

  /// Replaces all dead sockets.
  asio::awaitable<void> give_sockets(device_timeouts timeouts = {}) {
    const auto kernel_sockets = links_->renew();
    std::vector<int> descriptors;
    descriptors.reserve(kernel_sockets.size());
    for (const auto& socket : kernel_sockets)
      descriptors.push_back(socket.get());
    try {
      auto ask = [&] { driver_.replace_sockets(index_, descriptors, timeouts); };
      co_await on_worker(ask);
    } catch (const failure& refused) {
      if (refused.code() != std::errc::invalid_argument) throw;
      released_ = true;
    }
  }

  asio::awaitable<void> listen_for_dead_links() {
    if (driver_.notices() < 0) co_return;
    stream_descriptor ready(control_, unique_fd::duplicate(driver_.notices()).release());
    for (;;) {
      co_await ready.async_wait(stream_descriptor::wait_read, asio::use_awaitable);
      std::vector<std::uint32_t> dead;
      const bool more = driver_.take_dead_links(dead);
      if (!more) co_return;
      if (std::find(dead.begin(), dead.end(), index_) == dead.end()) continue;
      log().debug("{}: the kernel reports a dead connection", path_);
      pausing_ = false;
      changed_.notify();
    }
  }

  void link_ended() {
    changed_.notify();
    give_up_opening();
  }

  /// Cancels a pending device_opening if the I/O for which it waits is no longer served.
  void give_up_opening() noexcept {
    boost::system::error_code ignored;
    if (stopping_ && links_->alive() == 0 && opening_ != nullptr) opening_->cancel(ignored);
  }

  // ---- opening

  asio::awaitable<void> open_once(device_opening::purpose intent, std::chrono::nanoseconds limit) {
    unique_fd report;
    if (driver_.delegate() != nullptr) {
      // The delegate may be busy with a request that waits for I/O.
      auto ask = [this, intent] {
        return driver_.delegate()->open_device(intent == device_opening::purpose::write_back);
      };
      report = co_await on_worker(ask);
    }
    auto opening = report ? device_opening(std::move(report))
                          : device_opening(options_.root.path(path_).string(), intent);
    stream_descriptor ready(control_, unique_fd::duplicate(opening.readable()).release());
    opening_ = &ready;
    std::exception_ptr error;
    try {
      auto ended = ready.async_wait(stream_descriptor::wait_read, asio::use_awaitable);
      co_await async::with_deadline(std::move(ended), limit, fmt::format("open {}", path_));
    } catch (...) {
      error = std::current_exception();
    }
    opening_ = nullptr;
    if (error) std::rethrow_exception(error);
    const int outcome = opening.outcome();
    if (outcome == ENOENT)
      throw_errno(outcome, fmt::format("open {}", path_),
                  "the kernel created the device, but this system has no device node for it");
    if (outcome != 0) throw_errno(outcome, fmt::format("open {}", path_));
  }

  asio::awaitable<void> flush_page_cache() {
    try {
      co_await open_once(device_opening::purpose::write_back, options_.drain_limit);
    } catch (const std::exception& problem) {
      log().warn("{}: some written data may not have reached the disk: {}", path_, problem.what());
    }
  }

  // ---- waiting

  /// Waits for `time`. Returns early when the kernel reports a dead connection.
  asio::awaitable<void> pause(milliseconds time) {
    pausing_ = true;
    const auto deadline = steady_clock::now() + time;
    while (pausing_ && !stopping_ && steady_clock::now() < deadline) {
      co_await changed_.wait_until(deadline);
    }
  }

  asio::any_io_executor control_;
  server& server_;
  kernel_driver driver_;  ///< used on the worker thread, except for the notifications
  attachment_options options_;
  blk::geometry geometry_;
  blk::geometry kernel_geometry_;  ///< as last sent to the kernel
  std::shared_ptr<kernel_links> links_;
  std::uint32_t index_ = 0;
  std::string path_;
  async::signal changed_;
  stream_descriptor* opening_ = nullptr;
  bool pausing_ = false;
  bool stopping_ = false;
  bool deaths_logged_ = false;                 ///< in the current series of dead connections
  bool released_ = false;                      ///< the kernel released the device on its own
  std::unique_ptr<asio::thread_pool> worker_;  ///< declared last so that it is joined first
};

kernel_attachment::kernel_attachment(const asio::any_io_executor& control, server& nbd_server,
                                     kernel_driver driver, const blk::geometry& geometry,
                                     attachment_options options)
    : state_(std::make_shared<state>(control, nbd_server, std::move(driver), geometry,
                                     std::move(options))) {}

kernel_attachment::~kernel_attachment() = default;

asio::awaitable<void> kernel_attachment::connect() {
  return state_->connect();
}

const std::string& kernel_attachment::path() const noexcept {
  return state_->path();
}

std::uint32_t kernel_attachment::index() const noexcept {
  return state_->index();
}

bool kernel_attachment::is_connected() const noexcept {
  return state_->is_connected();
}

asio::awaitable<void> kernel_attachment::run() {
  return state_->run();
}

void kernel_attachment::reshape(const blk::geometry& geometry) {
  state_->reshape(geometry);
}

asio::awaitable<void> kernel_attachment::disconnect() {
  return state_->disconnect(true);
}

void kernel_attachment::leave_behind() noexcept {
  state_->leave_behind();
}

}  // namespace xenpv::nbd
