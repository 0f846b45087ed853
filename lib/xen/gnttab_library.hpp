// libxengnttab for the two grant wrappers: its C header and a logger.
// There is one logger for the whole process; it is never destroyed.
#pragma once

#include <cstdint>
#include <limits>

// Xen's headers do not declare their functions extern "C".
extern "C" {
#include <xengnttab.h>
}

namespace xenpv::xen {

/// Used as an offset or a port: the kernel clears no byte, or sends no event, when a mapping ends.
inline constexpr std::uint32_t no_notice = std::numeric_limits<std::uint32_t>::max();

/// Forwards the library's error messages to log() at debug level; otherwise they go to stderr and
/// duplicate the `failure`. Preserves errno, which the library does not. Thread-safe.
[[nodiscard]] xentoollog_logger* gnttab_logger() noexcept;

}  // namespace xenpv::xen
