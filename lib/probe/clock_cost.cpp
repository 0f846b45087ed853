#include "probe/clock_cost.hpp"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace xenpv::probe {
namespace {

using clock = std::chrono::steady_clock;

/// Returns the median cost of one read. Each run is long compared with the resolution of the clock
/// that times it.
template <class Read>
std::chrono::nanoseconds median_cost(Read read) {
  constexpr int reads = 64;
  std::array<std::chrono::nanoseconds, 31> runs{};
  for (auto& run : runs) {
    const auto start = clock::now();
    for (int i = 0; i < reads; ++i)
      read();
    run = std::chrono::duration_cast<std::chrono::nanoseconds>(clock::now() - start) / reads;
  }
  std::nth_element(runs.begin(), runs.begin() + runs.size() / 2, runs.end());
  return runs[runs.size() / 2];
}

}  // namespace

clock_cost measure_clock_cost() {
  timespec now{};
  return {.read = median_cost([&] { ::clock_gettime(CLOCK_MONOTONIC, &now); }),
          .system_call = median_cost([&] { ::syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now); })};
}

}  // namespace xenpv::probe
