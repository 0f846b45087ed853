#include "blkback/disk_fault.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

namespace xenpv::blkback {
namespace {

constexpr std::string_view known_faults =
    "expected error=N, delay=TIME[:P/N], late=TIME[:P/N], stall[=N], reorder, answer-twice=N, "
    "bad-id=N, wrong-operation=N, producer-jump=N, vanish=N, refuse-indirect, refuse-flush, "
    "refuse-discard or none";

struct flag {
  std::string_view name;
  bool disk_faults::*set;
};
constexpr std::array flags = {flag{"reorder", &disk_faults::reorder},
                              flag{"refuse-indirect", &disk_faults::refuse_indirect},
                              flag{"refuse-flush", &disk_faults::refuse_flush},
                              flag{"refuse-discard", &disk_faults::refuse_discard}};

struct period {
  std::string_view name;
  std::uint32_t disk_faults::*every;
};
constexpr std::array periods = {period{"error", &disk_faults::error_every},
                                period{"answer-twice", &disk_faults::answer_twice_every},
                                period{"bad-id", &disk_faults::bad_id_every},
                                period{"wrong-operation", &disk_faults::wrong_operation_every},
                                period{"producer-jump", &disk_faults::producer_jump_every}};

template <class Table>
const auto* entry_named(const Table& table, std::string_view name) {
  const auto* const entry = std::find_if(table.begin(), table.end(),
                                         [name](const auto& row) { return row.name == name; });
  return entry == table.end() ? nullptr : entry;
}

result<std::uint32_t> parse_count(std::string_view value, std::string_view name) {
  const auto count = parse_unsigned(value, name, 0, std::numeric_limits<std::uint32_t>::max());
  if (!count) return count.error();
  return static_cast<std::uint32_t>(*count);
}

/// "TIME[:P/N]".
result<void> set_time(std::string_view value, std::string_view name, std::chrono::nanoseconds& time,
                      ratio& share) {
  const auto colon = value.find(':');
  const auto parsed_time = parse_duration(value.substr(0, colon), name);
  if (!parsed_time) return parsed_time.error();
  ratio parsed_share{1, 1};
  if (colon != std::string_view::npos) {
    const auto parsed = parse_ratio(value.substr(colon + 1), name);
    if (!parsed) return parsed.error();
    parsed_share = *parsed;
  }
  time = *parsed_time;
  share = parsed_share;
  return {};
}

}  // namespace

result<void> parse_disk_fault(std::string_view text, disk_faults& faults) {
  const auto equals = text.find('=');
  const auto name = text.substr(0, equals);
  const bool has_value = equals != std::string_view::npos;
  const auto value = has_value ? text.substr(equals + 1) : "";
  if (text == "none") {
    faults = {};
    return {};
  }
  if (const auto* const flag = entry_named(flags, text)) {
    faults.*flag->set = true;
    return {};
  }
  if (has_value && name == "delay") return set_time(value, name, faults.delay, faults.delayed);
  if (has_value && name == "late") return set_time(value, name, faults.late_by, faults.late);
  const auto* const period = entry_named(periods, name);
  const bool is_stall = text == "stall" || (has_value && name == "stall");
  if (!is_stall && !(has_value && (period != nullptr || name == "vanish")))
    return make_error(errc::invalid_argument, fmt::format("disk fault '{}'", text), known_faults);
  const auto count = parse_count(has_value ? value : "0", name);
  if (!count) return count.error();
  if (period != nullptr) faults.*period->every = *count;
  if (name == "stall") faults.stall_after = *count;
  if (name == "vanish") faults.vanish_after = *count;
  return {};
}

result<disk_faults> parse_disk_faults(std::string_view text) {
  disk_faults faults;
  for (const auto fault : split(text, ' ')) {
    if (fault.empty()) continue;
    if (const auto parsed = parse_disk_fault(fault, faults); !parsed) return parsed.error();
  }
  return faults;
}

}  // namespace xenpv::blkback
