// Includes the C header of libxengnttab for the two grant wrappers, and defines a logger for the
// library. One logger serves the whole process and is never destroyed.
#pragma once

#include <cstdint>
#include <limits>

// Xen's headers do not declare their functions extern "C".
extern "C" {
#include <xengnttab.h>
}

namespace xenpv::xen {

/// As an offset: the kernel does not clear a byte when a mapping ends. As a port: it does not send
/// an event.
inline constexpr std::uint32_t no_notice = std::numeric_limits<std::uint32_t>::max();

/// Forwards library errors to log() at debug level. By default, the library prints them to stderr,
/// where they would duplicate the `failure`. Preserves errno, unlike the library. Thread-safe.
[[nodiscard]] xentoollog_logger* gnttab_logger() noexcept;

}  // namespace xenpv::xen
