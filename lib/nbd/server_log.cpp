#include "nbd/server_log.hpp"

#include <boost/system/error_code.hpp>

#include <algorithm>
#include <chrono>
#include <optional>

#include "xenpv/base/log.hpp"

namespace xenpv::nbd {
namespace {

limited_log::writer at(log_level level) {
  return [level](std::string_view text) { log().write(level, "{}", fmt::make_format_args(text)); };
}

}  // namespace

server_log::server_log(const asio::any_io_executor& executor)
    : timer_(executor),
      refused_("clients were refused", at(log_level::warning)),
      evicted_("unfinished handshakes were ended", at(log_level::warning)),
      failed_("clients failed", at(log_level::info)),
      waiting_("clients had to wait", at(log_level::warning)),
      accept_errors_("attempts to accept a client failed", at(log_level::error)) {}

void server_log::write(limited_log& kind, std::string_view text) {
  kind.write(text, std::chrono::steady_clock::now());
  if (closed_) return kind.flush(std::chrono::steady_clock::now(), true);
  schedule();
}

void server_log::schedule() {
  if (is_scheduled_) return;
  std::optional<limited_log::time_point> next;
  for (const auto* const kind : {&refused_, &evicted_, &failed_, &waiting_, &accept_errors_})
    if (const auto due = kind->flush_at()) next = next ? std::min(*next, *due) : *due;
  if (!next) return;
  is_scheduled_ = true;
  timer_.expires_at(*next);
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code code) {
    const auto self = weak.lock();
    if (code || !self) return;
    self->is_scheduled_ = false;
    self->flush(false);
    self->schedule();
  });
}

void server_log::flush(bool is_final) {
  const auto now = std::chrono::steady_clock::now();
  for (auto* const kind : {&refused_, &evicted_, &failed_, &waiting_, &accept_errors_})
    kind->flush(now, is_final);
}

void server_log::close() {
  if (closed_) return;
  closed_ = true;
  timer_.cancel();
  flush(true);
}

}  // namespace xenpv::nbd
