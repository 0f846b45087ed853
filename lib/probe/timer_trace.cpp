#include "probe/timer_trace.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "probe/trace_split.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::probe {
namespace {

constexpr std::string_view timer_event = "events/timer/hrtimer_expire_entry/enable";
/// The size of one event in the ring buffer, including its header and page overhead.
constexpr std::uint64_t event_bytes = 64;

[[noreturn]] void throw_no_trace(std::string_view remedy) {
  throw failure(errc::not_available, "trace the kernel's timers", remedy);
}

std::filesystem::path tracefs_of(const system_root& root) {
  // Below another root, tracefs does not belong to the kernel that runs these timers.
  if (!root.is_real()) throw_no_trace("a captured or simulated guest has no kernel to trace");
  for (const auto* path : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"})
    if (::access(fmt::format("{}/instances", path).c_str(), F_OK) == 0) return path;
  throw_no_trace("run as root, and mount tracefs: mount -t tracefs tracefs /sys/kernel/tracing");
}

}  // namespace

timer_trace::timer_trace(const system_root& root, std::uint64_t events)
    : instance_(tracefs_of(root) / "instances" / fmt::format("xenpv-{}", ::getpid())) {
  std::error_code code;
  if (!std::filesystem::create_directory(instance_, code))
    throw_no_trace(fmt::format("{}: {}", instance_.string(), code.message()));
  try {
    const auto kilobytes = std::clamp<std::uint64_t>(events * event_bytes / 1024, 64, 8192);
    write("buffer_size_kb", fmt::format("{}", kilobytes));
    write(timer_event, "1");
  } catch (...) {
    std::filesystem::remove(instance_, code);
    throw;
  }
}

timer_trace::~timer_trace() {
  // rmdir(2) on an instance removes everything below it.
  ::rmdir(instance_.c_str());
}

void timer_trace::write(std::string_view file, std::string_view text) const {
  const auto path = instance_ / file;
  std::ofstream out(path);
  out << text << std::flush;
  if (!out) throw_no_trace(fmt::format("{} cannot be written", path.string()));
}

std::map<unsigned, std::vector<std::chrono::nanoseconds>> timer_trace::finish(
    std::string_view function) {
  write(timer_event, "0");
  std::map<unsigned, std::vector<std::chrono::nanoseconds>> out;
  std::ifstream trace(instance_ / "trace");
  for (std::string line; std::getline(trace, line);)
    if (const auto expiry = parse_timer_expiry(line); expiry && expiry->function == function)
      out[expiry->cpu].push_back(expiry->now);
  for (auto& [cpu, times] : out)
    std::sort(times.begin(), times.end());
  return out;
}

}  // namespace xenpv::probe
