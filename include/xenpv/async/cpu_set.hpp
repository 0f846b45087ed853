// The CPUs available to a process, and the kernel's "0-3,8" notation for CPU lists.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::async {

/// The CPUs the calling thread may run on (sched_getaffinity), ascending. Throws `failure`.
[[nodiscard]] std::vector<unsigned> allowed_cpus();

/// Throws `failure` (errc::invalid_argument) naming the first of `cpus` on which the calling thread
/// is not allowed to run.
void require_allowed(std::span<const unsigned> cpus);

/// Restricts the calling thread to `cpu`. Throws `failure` naming the CPU and the allowed ones.
void pin_this_thread(unsigned cpu);

/// "0-3,8" -> {0, 1, 2, 3, 8}. The result is in ascending order, without duplicates, and not empty.
[[nodiscard]] result<std::vector<unsigned>> parse_cpu_list(std::string_view text);

/// A CPU list as the value of a single option. A separate type is needed because the command-line
/// parser uses a vector for the values of a repeated option.
struct cpu_list {
  std::vector<unsigned> cpus;  ///< as returned by parse_cpu_list()
};
/// Like parse_cpu_list(), for a single option.
[[nodiscard]] result<cpu_list> as_cpu_list(std::string_view text);
/// Returns the CPUs in `selection` after checking them with require_allowed(). If `selection` is
/// unset, returns all CPUs on which the calling thread may run.
[[nodiscard]] std::vector<unsigned> selected_cpus(const std::optional<cpu_list>& selection);

/// {0, 1, 2, 3, 8} -> "0-3,8". `cpus` must be in ascending order.
[[nodiscard]] std::string format_cpu_list(std::span<const unsigned> cpus);

}  // namespace xenpv::async
