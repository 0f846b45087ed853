// Distinguishes the two meanings of SIGHUP for a server. When a terminal closes, the kernel sends
// it to the processes started from that terminal; an administrator or a service manager sends it to
// make a server reload its configuration. service.cpp and served_disk.cpp handle the signal.
#pragma once

namespace xenpv::disk_app {

/// Records how this process was started: with SIGHUP ignored (nohup), and from a terminal. Call
/// early in a command, before SIGHUP is handled.
void remember_terminal() noexcept;

/// True if SIGHUP was ignored when this process started: closing the terminal must not stop it.
[[nodiscard]] bool hang_ups_are_ignored() noexcept;
/// True if this process was started from a terminal, its controlling terminal, and SIGHUP was not
/// ignored.
[[nodiscard]] bool was_started_from_terminal() noexcept;
/// True if that terminal has been closed since.
[[nodiscard]] bool terminal_is_closed() noexcept;

}  // namespace xenpv::disk_app
