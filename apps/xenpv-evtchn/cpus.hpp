// CPU lists as option values.
#pragma once

#include <string_view>
#include <vector>

#include "xenpv/async/cpu_set.hpp"

namespace xenpv::evtchn_app {

/// "0-3,8" as one value, where the command line's lists are of values given several times.
struct cpu_list {
  std::vector<unsigned> cpus;
};

[[nodiscard]] inline result<cpu_list> as_cpu_list(std::string_view text) {
  auto cpus = async::parse_cpu_list(text);
  if (!cpus) return cpus.error();
  return cpu_list{std::move(*cpus)};
}

}  // namespace xenpv::evtchn_app
