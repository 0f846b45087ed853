// Notifies the service manager (sd_notify(3)) with a datagram to the socket in NOTIFY_SOCKET. Does
// nothing without that variable. Does not need libsystemd.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace xenpv::cli {

/// "READY=1", "STATUS=...", "STOPPING=1", "WATCHDOG=1", or several, one per line. Ignores errors: a
/// lost notification is not a reason to fail.
void notify_service_manager(std::string_view assignments) noexcept;

/// Returns the interval at which this process must send WATCHDOG=1: half of the watchdog timeout
/// (sd_watchdog_enabled(3)). nullopt: no watchdog. Call this when the process starts, so that a
/// child process does not respond to its parent's watchdog.
[[nodiscard]] std::optional<std::chrono::microseconds> watchdog_interval();

}  // namespace xenpv::cli
