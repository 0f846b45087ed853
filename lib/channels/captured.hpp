// Paths of the generated files in a capture, which contain the results of queries and run-time
// probes. All other files in a capture are copies of the guest's files.
#pragma once

#include <string_view>

namespace xenpv::channels {

inline constexpr std::string_view captured_ports = "/xenpv/ports";      ///< lsevtchn format
inline constexpr std::string_view captured_store = "/xenpv/store";      ///< xenstore-ls -f format
inline constexpr std::string_view captured_holders = "/xenpv/holders";  ///< port_holders.hpp
inline constexpr std::string_view captured_log = "/xenpv/kernel-log";   ///< doctor/kernel_log.hpp
inline constexpr std::string_view captured_trials = "/xenpv/trials";    ///< doctor/notes.hpp
inline constexpr std::string_view captured_grants = "/xenpv/grants";    ///< doctor/grant_use.hpp
inline constexpr std::string_view captured_times = "/xenpv/cpu-times";  ///< doctor/cpu_sample.hpp
inline constexpr std::string_view captured_about = "/xenpv/about";      ///< capture time

}  // namespace xenpv::channels
