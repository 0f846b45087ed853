// Files a capture has besides copies of the guest's own: what was learnt by asking, not by reading.
#pragma once

#include <string_view>

namespace xenpv::diag {

inline constexpr std::string_view captured_ports = "/xenpv/ports";      ///< lsevtchn's lines
inline constexpr std::string_view captured_store = "/xenpv/store";      ///< xenstore-ls -f's lines
inline constexpr std::string_view captured_holders = "/xenpv/holders";  ///< port_holders.hpp
inline constexpr std::string_view captured_log = "/xenpv/kernel-log";   ///< kernel_log.hpp
inline constexpr std::string_view captured_trials = "/xenpv/trials";    ///< notes.hpp
inline constexpr std::string_view captured_grants = "/xenpv/grants";    ///< grant_use.hpp
inline constexpr std::string_view captured_about = "/xenpv/about";      ///< when, by what

}  // namespace xenpv::diag
