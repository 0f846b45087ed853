#include "xenpv/async/cpu_set.hpp"

#include <pthread.h>
#include <sched.h>

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/parse.hpp"

namespace xenpv::async {
namespace {

// The largest CONFIG_NR_CPUS in Linux (MAXSMP).
constexpr unsigned cpu_limit = 8192;

/// A dynamically sized cpu_set_t.
class cpu_mask {
 public:
  explicit cpu_mask(unsigned cpus) : cpus_(cpus), set_(CPU_ALLOC(cpus)) {
    if (!set_) throw std::bad_alloc();
    CPU_ZERO_S(size(), set_.get());
  }
  [[nodiscard]] std::size_t size() const noexcept { return CPU_ALLOC_SIZE(cpus_); }
  [[nodiscard]] cpu_set_t* get() const noexcept { return set_.get(); }
  void add(unsigned cpu) noexcept { CPU_SET_S(cpu, size(), set_.get()); }
  [[nodiscard]] bool has(unsigned cpu) const noexcept {
    return CPU_ISSET_S(cpu, size(), set_.get()) != 0;
  }

 private:
  struct deleter {
    void operator()(cpu_set_t* set) const noexcept { CPU_FREE(set); }
  };
  unsigned cpus_;
  std::unique_ptr<cpu_set_t, deleter> set_;
};

result<std::pair<unsigned, unsigned>> parse_range(std::string_view text, std::string_view field) {
  const auto bad = [&] {
    return make_error(errc::invalid_argument, fmt::format("CPU list '{}'", text),
                      "expected CPU numbers and ranges, such as 0-3,8");
  };
  const auto ends = split(field, '-');
  if (ends.size() > 2) return bad();
  const auto first = parse_unsigned(ends.front(), "CPU", 0, cpu_limit - 1);
  const auto last = parse_unsigned(ends.back(), "CPU", 0, cpu_limit - 1);
  if (!first || !last || *first > *last) return bad();
  return std::pair(static_cast<unsigned>(*first), static_cast<unsigned>(*last));
}

}  // namespace

std::vector<unsigned> allowed_cpus() {
  const cpu_mask mask(cpu_limit);
  if (::sched_getaffinity(0, mask.size(), mask.get()) != 0)
    throw_errno("read the allowed CPUs of this thread");
  std::vector<unsigned> cpus;
  for (unsigned cpu = 0; cpu < cpu_limit; ++cpu) {
    if (mask.has(cpu)) cpus.push_back(cpu);
  }
  return cpus;
}

void require_allowed(std::span<const unsigned> cpus) {
  const auto allowed = allowed_cpus();
  for (const auto cpu : cpus)
    if (!std::binary_search(allowed.begin(), allowed.end(), cpu))
      throw failure(errc::invalid_argument, fmt::format("run on CPU {}", cpu),
                    fmt::format("allowed CPUs: {}", format_cpu_list(allowed)));
}

void pin_this_thread(unsigned cpu) {
  int error = EINVAL;
  if (cpu < cpu_limit) {
    cpu_mask mask(cpu_limit);
    mask.add(cpu);
    // 0, not the thread ID: the server's system-call filter permits only the calling thread.
    error = ::sched_setaffinity(0, mask.size(), mask.get()) == 0 ? 0 : errno;
  }
  if (error != 0)
    throw_errno(error, fmt::format("pin a thread to CPU {}", cpu),
                fmt::format("allowed CPUs: {}", format_cpu_list(allowed_cpus())));
}

result<std::vector<unsigned>> parse_cpu_list(std::string_view text) {
  std::vector<unsigned> cpus;
  for (const auto field : split(text, ',')) {
    const auto range = parse_range(text, field);
    if (!range) return range.error();
    for (auto cpu = range->first; cpu <= range->second; ++cpu)
      cpus.push_back(cpu);
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

result<cpu_list> as_cpu_list(std::string_view text) {
  auto cpus = parse_cpu_list(text);
  if (!cpus) return cpus.error();
  return cpu_list{std::move(*cpus)};
}

std::vector<unsigned> selected_cpus(const std::optional<cpu_list>& selection) {
  if (!selection) return allowed_cpus();
  require_allowed(selection->cpus);
  return selection->cpus;
}

std::string format_cpu_list(std::span<const unsigned> cpus) {
  std::string text;
  for (std::size_t first = 0; first < cpus.size();) {
    auto last = first;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1)
      ++last;
    if (!text.empty()) text += ',';
    text += last == first ? fmt::format("{}", cpus[first])
                          : fmt::format("{}-{}", cpus[first], cpus[last]);
    first = last + 1;
  }
  return text;
}

}  // namespace xenpv::async
