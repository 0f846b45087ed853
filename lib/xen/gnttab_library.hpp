// libxengnttab as the two grant wrappers see it: its C header, and a logger of ours.
// Owned by nobody: one logger for the whole process, never destroyed.
#pragma once

#include <cstdint>
#include <limits>

// Xen's headers do not care for C++ themselves.
extern "C" {
#include <xengnttab.h>
}

namespace xenpv::xen {

/// In place of an offset or a port: the kernel clears no byte, or sends no event, when a mapping
/// ends.
inline constexpr std::uint32_t no_notice = std::numeric_limits<std::uint32_t>::max();

/// Takes the library's own words on errors to log() at debug level; without it they go to stderr,
/// beside the `failure` that says the same in ours. Keeps errno, which the library does not.
/// Thread-safe.
[[nodiscard]] xentoollog_logger* gnttab_logger() noexcept;

}  // namespace xenpv::xen
