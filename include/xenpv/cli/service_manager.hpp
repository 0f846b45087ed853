// What a program tells the service manager that started it (sd_notify(3)): a datagram to the socket
// in NOTIFY_SOCKET. Nothing happens without one. Needs no library of systemd's.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace xenpv::cli {

/// "READY=1", "STATUS=...", "STOPPING=1", "WATCHDOG=1", or several, a line each. Never throws: a
/// manager that does not listen is no reason to fail.
void notify_service_manager(std::string_view assignments) noexcept;

/// How often the manager wants to hear WATCHDOG=1 from this process (sd_watchdog_enabled(3)): half
/// of what it waits. Unset: it does not watch. For the process's start: a child must not think it
/// is meant.
[[nodiscard]] std::optional<std::chrono::microseconds> watchdog_interval();

}  // namespace xenpv::cli
