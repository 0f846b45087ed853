// Traces the kernel's timers during a measurement, in a private tracefs instance so that other
// users of tracing are not disturbed. Requires root.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::probe {

class timer_trace {
 public:
  /// Starts tracing; keeps about the last `events` events per CPU. Throws `failure`
  /// (errc::not_available) if tracefs is missing or cannot be written.
  timer_trace(const system_root& root, std::uint64_t events);
  /// Removes the instance.
  ~timer_trace();
  timer_trace(const timer_trace&) = delete;
  timer_trace& operator=(const timer_trace&) = delete;

  /// Stops tracing. Returns, for each CPU, the times at which interrupts ran timers with handler
  /// `function`, ascending.
  [[nodiscard]] std::map<unsigned, std::vector<std::chrono::nanoseconds>> finish(
      std::string_view function);

 private:
  void write(std::string_view file, std::string_view text) const;

  std::filesystem::path instance_;
};

}  // namespace xenpv::probe
