// Paths of the files that a capture adds to the copies of the guest's files: facts that come from
// queries and trials instead of files.
#pragma once

#include <string_view>

namespace xenpv::channels {

inline constexpr std::string_view captured_ports = "/xenpv/ports";      ///< lsevtchn's lines
inline constexpr std::string_view captured_store = "/xenpv/store";      ///< xenstore-ls -f's lines
inline constexpr std::string_view captured_holders = "/xenpv/holders";  ///< port_holders.hpp
inline constexpr std::string_view captured_log = "/xenpv/kernel-log";   ///< doctor/kernel_log.hpp
inline constexpr std::string_view captured_trials = "/xenpv/trials";    ///< doctor/notes.hpp
inline constexpr std::string_view captured_grants = "/xenpv/grants";    ///< doctor/grant_use.hpp
inline constexpr std::string_view captured_about = "/xenpv/about";      ///< time of the capture

}  // namespace xenpv::channels
