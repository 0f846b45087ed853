#include "sim/fault_spec.hpp"

#include <fmt/format.h>

#include <array>
#include <limits>

#include "base/closest_word.hpp"

namespace xenpv::sim {
namespace {

/// Stores a parsed value or returns its error.
template <class T, class Field>
result<void> assign(const result<T>& value, Field& field) {
  if (!value) return value.error();
  field = static_cast<Field>(*value);
  return {};
}

result<void> parse_delay(std::string_view value, fault_switches& switches) {
  const auto colon = value.find(':');
  const auto delay = parse_duration(value.substr(0, colon), "event-delayed");
  if (!delay) return delay.error();
  ratio share{1, 1};
  if (colon != std::string_view::npos) {
    const auto parsed = parse_ratio(value.substr(colon + 1), "event-delayed");
    if (!parsed) return parsed.error();
    share = *parsed;
  }
  switches.event_delay = *delay;
  switches.event_delayed = share;
  return {};
}

}  // namespace

result<void> parse_fault(std::string_view text, fault_switches& switches) {
  if (text == "none") {
    switches = {};
    return {};
  }
  const auto equals = text.find('=');
  const auto name = text.substr(0, equals);
  const auto value = equals == std::string_view::npos ? "" : text.substr(equals + 1);
  const auto count = [&] {
    return parse_unsigned(value, name, 0, std::numeric_limits<std::uint32_t>::max());
  };
  if (name == "event-lost") return assign(parse_ratio(value, name), switches.event_lost);
  if (name == "event-doubled") return assign(parse_ratio(value, name), switches.event_doubled);
  if (name == "event-delayed") return parse_delay(value, switches);
  if (name == "grant-refused") return assign(parse_ratio(value, name), switches.grant_refused);
  if (name == "store-slow") return assign(parse_duration(value, name), switches.store_delay);
  if (name == "store-fail") return assign(count(), switches.store_fail_every);
  if (name == "store-eagain") return assign(count(), switches.store_eagain_every);
  if (name == "store-vanish") return assign(count(), switches.store_vanish_after);
  constexpr std::array<std::string_view, 9> known = {
      "event-lost", "event-doubled", "event-delayed", "grant-refused", "store-slow",
      "store-fail", "store-eagain",  "store-vanish",  "none"};
  return make_error(errc::invalid_argument, fmt::format("fault '{}'", text),
                    "expected event-lost, event-doubled, event-delayed, grant-refused, store-slow, "
                    "store-fail, store-eagain, store-vanish or none" +
                        did_you_mean(name, known));
}

}  // namespace xenpv::sim
