#include "xenpv/xen/custodian.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "xen/custodian_link.hpp"
#include "xen/custodian_process.hpp"
#include "xen/packet_socket.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::xen {
namespace {

using steady_clock = std::chrono::steady_clock;

/// The custodian limits the waits of its cleanups itself. This longer limit only detects a hung
/// custodian.
constexpr std::chrono::milliseconds clean_up_timeout = cleanup_limit + std::chrono::seconds(15);

/// Schedules replacements: the first one immediately, later ones at growing intervals.
class restart_schedule {
 public:
  [[nodiscard]] bool is_due() const noexcept { return steady_clock::now() >= next_; }
  void begin_attempt() noexcept {
    const auto now = steady_clock::now();
    // A custodian that ran this long did not fail at startup.
    if (now - last_ > longest) delay_ = {};
    delay_ = std::clamp(2 * delay_, shortest, longest);
    last_ = now;
    next_ = now + delay_;
  }

 private:
  static constexpr steady_clock::duration shortest = std::chrono::seconds(1);
  static constexpr steady_clock::duration longest = std::chrono::minutes(1);

  steady_clock::duration delay_{};
  steady_clock::time_point last_{};
  steady_clock::time_point next_{};
};

void throw_refused(const custodian_reply& reply, std::string_view operation) {
  if (reply.refusal != 0) throw failure(static_cast<errc>(reply.refusal), operation, reply.reason);
}

void require_room(const custodian_request& request, std::string_view operation) {
  const auto size = encode(request).size();
  if (size > packet_limit)
    throw failure(
        errc::limit_reached, operation,
        fmt::format("{} bytes, but the custodian accepts at most {}", size, packet_limit));
}

void require_open(int descriptor, std::string_view operation) {
  if (::fcntl(descriptor, F_GETFD) < 0) throw_errno(operation);
}

void withdraw_cleanup(custodian_link& replacement, const std::string& name) noexcept {
  constexpr std::chrono::seconds limit(1);
  try {
    static_cast<void>(replacement.exchange(clear_cleanup_request{name}, limit));
  } catch (const std::exception& e) {
    log().error("withdraw cleanup '{}': {}", name, e.what());
  }
}

}  // namespace

struct custodian::connection {
  explicit connection(custodian_starter chosen)
      : starter(std::move(chosen)), link(starter()), process(link.process()) {}
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;
  ~connection() { stop(); }

  void submit(const custodian_request& request, std::string_view operation, int descriptor = -1);
  /// Like submit(), but logs errors instead of throwing them.
  void try_submit(const custodian_request& request, std::string_view operation,
                  int descriptor = -1) noexcept;
  void clean_up();
  [[nodiscard]] bool revive();
  void stop() noexcept;

  std::mutex mutex;
  custodian_starter starter;
  custodian_link link;
  bool lost = false;
  bool replacement_failure_logged = false;
  custodian_duty duty;  ///< copy of the custodian's state, for a replacement
  restart_schedule restarts;
  std::atomic<std::uint64_t> last_id = 0;  ///< ID of the latest kept descriptor
  std::atomic<pid_t> process;

 private:
  // Callers of the members below must hold `mutex`.
  std::optional<custodian_reply> exchange(const custodian_request& request, int descriptor);
  void note_loss();
  bool replace() noexcept;
  void start_replacement();
  /// Sends `request`, and sends it again if the custodian exits before replying. Returns true if
  /// `reply` was received.
  bool exchange_with_retry(const custodian_request& request, std::string_view operation,
                           std::optional<custodian_reply>& reply) noexcept;
};

std::optional<custodian_reply> custodian::connection::exchange(const custodian_request& request,
                                                               int descriptor) {
  if (lost) return std::nullopt;
  auto reply = link.exchange(request, descriptor);
  if (!reply) note_loss();
  return reply;
}

void custodian::connection::submit(const custodian_request& request, std::string_view operation,
                                   int descriptor) {
  auto duplicate = descriptor < 0 ? unique_fd() : unique_fd::duplicate(descriptor);
  const std::lock_guard lock(mutex);
  const auto reply = exchange(request, descriptor);
  if (reply) throw_refused(*reply, operation);
  throw_refused(duty.handle(request, std::move(duplicate)), operation);
  // `duty` has recorded the request, so a replacement receives it.
  if (!reply) static_cast<void>(replace());
}

void custodian::connection::try_submit(const custodian_request& request, std::string_view operation,
                                       int descriptor) noexcept {
  try {
    submit(request, operation, descriptor);
  } catch (const std::exception& e) {
    log().error("{}", e.what());
  }
}

void custodian::connection::note_loss() {
  lost = true;
  const auto number = link.process();
  const auto end = link.reap(WNOHANG);
  log().error("custodian process {} exited{}; starting a replacement", number,
              end.empty() ? "" : " (" + end + ")");
}

bool custodian::connection::revive() {
  const std::lock_guard lock(mutex);
  if (!lost && link.is_hung_up()) note_loss();
  return replace();
}

bool custodian::connection::replace() noexcept {
  if (!lost) return true;
  if (!restarts.is_due()) return false;
  restarts.begin_attempt();
  try {
    start_replacement();
    return true;
  } catch (const std::exception& e) {
    if (std::exchange(replacement_failure_logged, true))
      log().debug("{}", e.what());
    else
      log().error(
          "{}; without a custodian, a migration may lead to a kernel BUG when this process exits, "
          "and a crash of this process leaves its devices connected",
          e.what());
    return false;
  }
}

void custodian::connection::start_replacement() {
  custodian_link replacement(starter());
  const auto pass_on = [&](const custodian_request& request, int descriptor) {
    const auto reply = replacement.exchange(request, descriptor);
    if (!reply)
      throw failure(errc::lost_connection, "start the custodian",
                    "it exited: " + replacement.reap(0));
    throw_refused(*reply, "start the custodian");
  };
  const auto inventory = duty.inventory();
  try {
    for (const auto& [request, descriptor] : inventory)
      pass_on(request, descriptor);
    log().warn("process {} is the new custodian and took over {} registrations",
               replacement.process(), inventory.size());
  } catch (...) {
    // A confined process cannot kill the replacement, which runs its cleanups when its socket is
    // closed: the devices that they close are in use.
    for (const auto& [request, descriptor] : inventory)
      if (const auto* const set = std::get_if<set_cleanup_request>(&request))
        withdraw_cleanup(replacement, set->name);
    replacement.kill();
    throw;
  }
  // note_loss() may have run too early to reap the old custodian: its socket closes shortly before
  // the process can be reaped.
  static_cast<void>(link.reap(WNOHANG));
  link = std::move(replacement);
  process = link.process();
  lost = false;
  replacement_failure_logged = false;
}

bool custodian::connection::exchange_with_retry(const custodian_request& request,
                                                std::string_view operation,
                                                std::optional<custodian_reply>& reply) noexcept {
  try {
    // Try twice: the custodian may have exited earlier, and may also exit before it replies.
    for (int attempt = 0; attempt < 2; ++attempt) {
      const bool is_needed = duty.must_stay() || !duty.cleanups().empty();
      if (lost && is_needed) {
        restarts = {};
        static_cast<void>(replace());
      }
      if (lost) return false;
      reply = link.exchange(request, clean_up_timeout);
      if (reply) return true;
      note_loss();
    }
  } catch (const std::exception& e) {
    log().warn("{}: {}", operation, e.what());
  }
  return false;
}

void custodian::connection::clean_up() {
  const std::lock_guard lock(mutex);
  if (duty.cleanups().empty()) return;
  std::optional<custodian_reply> reply;
  if (!exchange_with_retry(clean_up_request{}, "run the cleanups", reply))
    log().warn("cannot run the cleanups: the custodian has exited");
  static_cast<void>(duty.take_cleanups());
}

void custodian::connection::stop() noexcept {
  const std::lock_guard lock(mutex);
  std::optional<custodian_reply> reply;
  if (!exchange_with_retry(stop_request{}, "stop the custodian", reply)) {
    if (duty.must_stay())
      log().error(
          "stop the custodian: process {} has exited; the kernel will report a BUG when this "
          "process exits, because handles opened before a resume are then closed",
          process.load());
    else if (lost)
      log().warn("stop the custodian: process {} has exited", process.load());
    // Closing the descriptors here would trigger the BUG immediately.
    duty.leak_kept_for_ever();
    static_cast<void>(link.reap(WNOHANG));
    return;
  }
  if (reply->value != 0)
    log().info("custodian process {} keeps event channels opened before the resume",
               process.load());
  else
    link.await_end();
}

custodian custodian::start(custodian_starter starter) {
  if (!starter)
    starter = [program = std::make_shared<custodian_program>(custodian_program::find())] {
      return execute_custodian(*program);
    };
  return custodian(std::make_unique<connection>(std::move(starter)));
}

custodian::custodian(std::unique_ptr<connection> c) noexcept : connection_(std::move(c)) {}
custodian::custodian(custodian&&) noexcept = default;
custodian& custodian::operator=(custodian&&) noexcept = default;
custodian::~custodian() = default;

custodian::kept_id custodian::keep(int descriptor) {
  const auto operation = fmt::format("keep descriptor {}", descriptor);
  require_open(descriptor, operation);
  const std::uint64_t id = ++connection_->last_id;
  connection_->submit(keep_request{id}, operation, descriptor);
  return kept_id(id);
}

void custodian::hold(int descriptor) {
  const auto operation = fmt::format("hold descriptor {}", descriptor);
  require_open(descriptor, operation);
  connection_->try_submit(hold_request{}, operation, descriptor);
}

void custodian::release(kept_id id) {
  connection_->submit(release_request{static_cast<std::uint64_t>(id)}, "release a kept descriptor");
}

void custodian::resumed() {
  connection_->submit(resumed_request{}, "report a resume to the custodian");
}

void custodian::set_cleanup(const std::string& name, const std::vector<cleanup_step>& steps) {
  const auto operation = fmt::format("register cleanup '{}'", name);
  const custodian_request request = set_cleanup_request{name, steps};
  require_room(request, operation);
  connection_->try_submit(request, operation);
}

void custodian::clear_cleanup(const std::string& name) {
  connection_->try_submit(clear_cleanup_request{name}, fmt::format("clear cleanup '{}'", name));
}

void custodian::clean_up() {
  connection_->clean_up();
}

bool custodian::revive() {
  return connection_->revive();
}

unique_fd custodian::end_descriptor() const {
  const std::lock_guard lock(connection_->mutex);
  return unique_fd::duplicate(connection_->link.socket());
}

pid_t custodian::process() const noexcept {
  return connection_->process;
}

}  // namespace xenpv::xen
