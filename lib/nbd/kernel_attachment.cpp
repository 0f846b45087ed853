#include "xenpv/nbd/kernel_attachment.hpp"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <vector>

#include "nbd/kernel_links.hpp"
#include "xenpv/async/call_on.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/async/nursery.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/nbd/kernel_device.hpp"

namespace xenpv::nbd {
namespace {

namespace asio = async::asio;
using asio::posix::stream_descriptor;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds first_pause(20);
constexpr milliseconds longest_pause(1000);
constexpr unsigned most_unwanted = 20;
/// How long a device that is asked for may be busy only because somebody looks at it: udev does.
constexpr milliseconds busy_limit(2000);
/// The longest time that queue/io_timeout takes as a number with a sign: 24 days.
constexpr milliseconds no_limit(2147483647);

/// Signals are for the other threads: one here would interrupt the kernel in the middle of a
/// request, which it then fails.
std::unique_ptr<asio::thread_pool> make_worker() {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  auto out = std::make_unique<asio::thread_pool>(1);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return out;
}

}  // namespace

class kernel_attachment::state : public std::enable_shared_from_this<kernel_attachment::state> {
 public:
  state(const asio::any_io_executor& control, server& on, kernel_driver driver,
        const blk::geometry& shape, attachment_options options)
      : control_(control),
        server_(on),
        driver_(std::move(driver)),
        options_(std::move(options)),
        wanted_(shape),
        told_(shape),
        links_(std::make_shared<kernel_links>(on, options_.connections, options_.queues,
                                              [this] { link_ended(); })),
        changed_(control, steady_clock::time_point::max()),
        worker_(make_worker()) {}

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::uint32_t index() const noexcept { return index_; }
  [[nodiscard]] bool is_connected() const noexcept {
    // One that the kernel let go of may be somebody else's by now.
    return !path_.empty() && !stopping_ && !released_ && !links_->said_goodbye();
  }

  asio::awaitable<void> connect() {
    if (options_.adopted) co_return co_await adopt(*options_.adopted);
    auto theirs = links_->renew();
    kernel_device_config config;
    config.index = options_.index;
    config.size = told_.size;
    config.block_size = told_.sector_size;
    config.flags = server_.transmission_flags();
    config.timeout = options_.timeout;
    config.dead_timeout = options_.dead_timeout;
    config.identifier = options_.identifier;
    for (const auto& each : theirs)
      config.sockets.push_back(each.get());
    co_await ask_for_device(config);
    theirs.clear();
    path_ = kernel_device_path(index_);
    log().debug("{}: made by the kernel, {} connections", path_, links_->count());
    std::exception_ptr error;
    try {
      co_await open_once(device_opening::purpose::scan, options_.open_limit);
    } catch (...) {
      error = std::current_exception();
    }
    if (!error) {
      set_request_limit();
      co_return;
    }
    // Also when it was cancelled: what was made is unmade.
    co_await asio::this_coro::throw_if_cancelled(false);
    co_await disconnect(false);
    std::rethrow_exception(error);
  }

  void leave_behind() noexcept {
    stopping_ = true;
    changed_.cancel();
    give_up_opening();
  }

  asio::awaitable<void> run() {
    async::nursery listeners(control_);
    listeners.spawn(listen_for_dead_links());
    std::exception_ptr error;
    try {
      co_await keep_going();
    } catch (...) {
      error = std::current_exception();
    }
    // From here to its end without being cancelled: the listener is to be waited for.
    co_await asio::this_coro::throw_if_cancelled(false);
    listeners.cancel();
    co_await listeners.join();
    if (error) std::rethrow_exception(error);
  }

  void reshape(const blk::geometry& shape) {
    wanted_ = shape;
    changed_.cancel();
  }

  asio::awaitable<void> disconnect(bool write_back) {
    if (!is_connected()) co_return;
    stopping_ = true;
    if (write_back && !told_.read_only) co_await flush_page_cache();
    asio::steady_timer patience(control_, options_.drain_limit);
    patience.async_wait([self = shared_from_this()](boost::system::error_code code) {
      if (!code) self->server_.hang_up();
    });
    try {
      auto ask = [this] { driver_.disconnect(index_); };
      co_await on_worker(ask);
    } catch (const failure& problem) {
      log().error("{}", problem.what());
    }
    patience.cancel();
    changed_.cancel();
  }

 private:
  // ---- the kernel

  /// Here, not on the worker: /sys/block/nbdN/pid names the thread that asks, and that is to be
  /// this process. Nothing of it waits for what we serve.
  asio::awaitable<void> ask_for_device(const kernel_device_config& config) {
    const auto until = steady_clock::now() + busy_limit;
    for (;;) {
      std::string problem;
      try {
        index_ = driver_.connect(config);
      } catch (const failure& refused) {
        const bool may_pass = config.index &&
                              refused.code() == std::errc::device_or_resource_busy &&
                              !kernel_device_owner(*config.index, options_.root);
        if (!may_pass || steady_clock::now() >= until) throw;
        problem = refused.what();
      }
      if (problem.empty()) co_return;
      log().debug("{}; once more", problem);
      co_await pause(longest_pause / 10);
    }
  }

  asio::awaitable<void> adopt(std::uint32_t index) {
    index_ = index;
    path_ = kernel_device_path(index);
    driver_.adopt(kernel_device_identifier(index, options_.root).value_or(std::string()));
    // What it has; run() tells it of another size.
    told_.size = kernel_device_size(index, options_.root).value_or(told_.size);
    co_await give_sockets();
    if (released_)
      throw failure(errc::not_available, fmt::format("take over {}", path_),
                    "the kernel has let go of it");
    log().debug("{}: taken over, {} connections", path_, links_->count());
  }

  /// The kernel's own limit for a request, where the user asked for none. With one connection the
  /// driver only looks at a request then, and sends it again if the connection was replaced since.
  /// With several it takes the connection for dead, and sends the request again over another one
  /// while the disk may still carry out the first copy; only a limit that is never reached prevents
  /// that. In exchange, requests that a killed server had not answered wait until the device is
  /// disconnected. A kept device needs the resending more.
  void set_request_limit() {
    if (options_.timeout.count() > 0) return;
    if (links_->count() > 1 && !options_.keep)
      write_request_limit(no_limit, "slow requests are sent again after 30 s");
    else if (links_->count() == 1 && options_.keep)
      write_request_limit(options_.resend_after,
                          "requests of a dead server are sent again after 30 s");
    else if (options_.keep)
      log().warn(
          "{}: kept with {} connections, so the kernel sends a request again that takes 30 s; with "
          "one connection it waits",
          path_, links_->count());
  }
  void write_request_limit(std::chrono::milliseconds limit, std::string_view otherwise) {
    const auto path = fmt::format("/sys/block/{}/queue/io_timeout", kernel_device_name(index_));
    std::ofstream file(options_.root.path(path));
    if (!(file << limit.count()).flush())
      log().warn("{}: cannot write {}: {}", path_, path, otherwise);
  }

  /// What the kernel asks of this process; `ask` may wait for what we serve.
  template <class Function>
  asio::awaitable<std::invoke_result_t<Function&>> on_worker(Function ask) {
    return async::call_on(worker_->get_executor(), std::move(ask));
  }

  [[nodiscard]] bool has_news() const {
    return wanted_.size != told_.size || wanted_.sector_size != told_.sector_size;
  }

  asio::awaitable<void> keep_going() {
    for (;;) {
      const bool ends = stopping_ || links_->said_goodbye();
      if (ends && links_->alive() == 0) co_return;
      if (!ends && has_news()) {
        co_await tell_shape();
      } else if (!ends && links_->alive() < links_->count()) {
        co_await replace_links();
        if (released_) co_return;
      } else {
        co_await changed();
      }
    }
  }

  asio::awaitable<void> tell_shape() {
    told_ = wanted_;
    auto ask = [this] { driver_.resize(index_, told_.size, told_.sector_size); };
    co_await on_worker(ask);
    if (stopping_) co_return;
    // Partitions are looked for anew when it is opened, and so was the size in older kernels.
    std::exception_ptr error;
    try {
      co_await open_once(device_opening::purpose::scan, options_.open_limit);
    } catch (...) {
      error = std::current_exception();
    }
    // Given up, or for nobody any more.
    if (error && stopping_) co_return;
    if (error) std::rethrow_exception(error);
    const auto shown = kernel_device_size(index_, options_.root);
    const auto expected = told_.size / told_.sector_size * told_.sector_size;
    if (shown && *shown != expected && !has_news())
      log().warn(
          "{}: the kernel keeps to {} bytes, the disk has {} now; detach and attach it again",
          path_, *shown, told_.size);
    else
      log().info("{}: has {} bytes now", path_, told_.size);
  }

  asio::awaitable<void> replace_links() {
    const auto unwanted = links_->unwanted();
    if (unwanted > most_unwanted)
      throw failure(make_error_code(errc::lost_connection), fmt::format("keep {}", path_),
                    "its sockets die as fast as the kernel gets new ones");
    // The kernel shuts a socket down before it counts it as dead, and drops new ones until then.
    if (unwanted <= 1) told_of_deaths_ = false;
    if (unwanted > 0) co_await pause(std::min(longest_pause, first_pause * (1U << unwanted)));
    auto ask_state = [this] { return driver_.is_connected(index_).value_or(false); };
    const bool connected = co_await on_worker(ask_state);
    if (!connected) {
      log().info("{}: the kernel has let go of it", path_);
      released_ = true;
      co_return;
    }
    const auto level = std::exchange(told_of_deaths_, true) ? log_level::debug : log_level::warning;
    const auto text = fmt::format("{}: {} of {} connections died; the kernel gets new ones", path_,
                                  links_->count() - links_->alive(), links_->count());
    log().write(level, "{}", fmt::make_format_args(text));
    co_await give_sockets();
    if (released_) log().info("{}: the kernel has let go of it, but somebody has it open", path_);
  }

  /// In place of each that is dead.
  asio::awaitable<void> give_sockets() {
    const auto theirs = links_->renew();
    std::vector<int> numbers;
    numbers.reserve(theirs.size());
    for (const auto& each : theirs)
      numbers.push_back(each.get());
    try {
      auto ask = [&] { driver_.replace_sockets(index_, numbers); };
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
      log().debug("{}: the kernel says that a connection died", path_);
      pausing_ = false;
      changed_.cancel();
    }
  }

  void link_ended() {
    changed_.cancel();
    give_up_opening();
  }

  /// Nobody answers any more what an opening waits for.
  void give_up_opening() noexcept {
    boost::system::error_code ignored;
    if (stopping_ && links_->alive() == 0 && opening_ != nullptr) opening_->cancel(ignored);
  }

  // ---- opening

  asio::awaitable<void> open_once(device_opening::purpose what, std::chrono::nanoseconds limit) {
    device_opening opening(options_.root.path(path_).string(), what);
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
                  "the kernel made it, but this system has no file for it");
    if (outcome != 0) throw_errno(outcome, fmt::format("open {}", path_));
  }

  asio::awaitable<void> flush_page_cache() {
    try {
      co_await open_once(device_opening::purpose::write_back, options_.drain_limit);
    } catch (const std::exception& problem) {
      log().warn("{}: not all that was written to it may have reached the disk: {}", path_,
                 problem.what());
    }
  }

  // ---- waiting

  asio::awaitable<void> changed() {
    changed_.expires_at(steady_clock::time_point::max());
    (void)co_await changed_.async_wait(asio::as_tuple(asio::use_awaitable));
  }

  /// Ends early when the kernel says that a connection died.
  asio::awaitable<void> pause(milliseconds time) {
    pausing_ = true;
    const auto until = steady_clock::now() + time;
    while (pausing_ && !stopping_ && steady_clock::now() < until) {
      changed_.expires_at(until);
      (void)co_await changed_.async_wait(asio::as_tuple(asio::use_awaitable));
    }
  }

  asio::any_io_executor control_;
  server& server_;
  kernel_driver driver_;  ///< the worker's, but for its notices
  attachment_options options_;
  blk::geometry wanted_;
  blk::geometry told_;  ///< to the kernel
  std::shared_ptr<kernel_links> links_;
  std::uint32_t index_ = 0;
  std::string path_;
  asio::steady_timer changed_;
  stream_descriptor* opening_ = nullptr;
  bool pausing_ = false;
  bool stopping_ = false;
  bool told_of_deaths_ = false;                ///< in the row of them that goes on
  bool released_ = false;                      ///< by the kernel, without our asking
  std::unique_ptr<asio::thread_pool> worker_;  ///< last: its thread ends first
};

kernel_attachment::kernel_attachment(const asio::any_io_executor& control, server& on,
                                     kernel_driver driver, const blk::geometry& shape,
                                     attachment_options options)
    : state_(std::make_shared<state>(control, on, std::move(driver), shape, std::move(options))) {}

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

void kernel_attachment::reshape(const blk::geometry& shape) {
  state_->reshape(shape);
}

asio::awaitable<void> kernel_attachment::disconnect() {
  return state_->disconnect(true);
}

void kernel_attachment::leave_behind() noexcept {
  state_->leave_behind();
}

}  // namespace xenpv::nbd
