#include "nbd/progress_timer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace xenpv::nbd {
namespace {

/// How often to check a client without a limit.
constexpr std::chrono::seconds usual_interval{2};

/// While other connections wait for memory, a client must transfer at least this many bytes a
/// second: a client that occasionally transfers a byte would hold its memory forever.
constexpr std::int64_t least_rate = std::int64_t{16} << 10;

std::uint64_t least_progress(const session_progress& state, std::chrono::nanoseconds limit) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit).count();
  return state.holds_up_others
             ? static_cast<std::uint64_t>(std::max(seconds * least_rate, least_rate))
             : 1;
}

std::string describe_stall(std::string_view missing, std::chrono::nanoseconds limit) {
  return fmt::format("the client has not {} for {} s", missing,
                     std::chrono::duration<double>(limit).count());
}

}  // namespace

progress_timer::progress_timer(const asio::any_io_executor& executor,
                               std::chrono::nanoseconds limit, observer callbacks)
    : timer_(executor), limit_(limit), callbacks_(std::move(callbacks)) {}

void progress_timer::run() {
  is_running_ = true;
  timer_.expires_after(limit_.count() > 0 ? stall_watch::interval(limit_) : usual_interval);
  timer_.async_wait(
      [alive = std::weak_ptr<progress_timer*>(alive_)](boost::system::error_code code) {
        const auto self = alive.lock();
        if (!self) return;
        (*self)->is_running_ = false;
        if (!code) (*self)->check();
      });
}

void progress_timer::check() {
  const auto now = std::chrono::steady_clock::now();
  const auto state = callbacks_.inspect();
  const auto before = std::exchange(last_, state);
  if (state.is_gone)
    return callbacks_.stalled("the client closed the connection before its requests were complete");
  if (limit_.count() > 0) {
    const auto least = least_progress(state, limit_);
    const bool is_unread = reader_.is_stalled(state.awaits_reader, state.sent, now, limit_, least);
    const bool is_unsent =
        sender_.is_stalled(state.awaits_sender, state.received, now, limit_, least);
    if (is_unread) return callbacks_.stalled(describe_stall("read its replies", limit_));
    if (is_unsent) return callbacks_.stalled(describe_stall("sent the rest of a request", limit_));
  }
  const bool has_progress = state.sent != before.sent || state.received != before.received;
  if (state.is_busy || state.awaits_sender || has_progress)
    run();
  else
    callbacks_.idle();
}

}  // namespace xenpv::nbd
