// The kernel's own notes of its timers while something is measured: an instance of tracefs that
// belongs to nobody else, so that other users of tracing are not disturbed. Needs root.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::diag {

class timer_trace {
 public:
  /// Starts at once; keeps the last `events` or so of each CPU. Throws `failure`
  /// (errc::not_available) where there is no tracefs or it cannot be written.
  timer_trace(const system_root& root, std::uint64_t events);
  /// Takes the instance away.
  ~timer_trace();
  timer_trace(const timer_trace&) = delete;
  timer_trace& operator=(const timer_trace&) = delete;

  /// Ends tracing. When interrupts ran the timers whose handler is `function`, ascending, by CPU.
  [[nodiscard]] std::map<unsigned, std::vector<std::chrono::nanoseconds>> finish(
      std::string_view function);

 private:
  void write(std::string_view file, std::string_view text) const;

  std::filesystem::path instance_;
};

}  // namespace xenpv::diag
