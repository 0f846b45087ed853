#include <fmt/format.h>

#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "doctor/health_report.hpp"

namespace xenpv::doctor {
namespace {

using json = nlohmann::json;

/// Internal to the parser: parse_report() converts it to an error.
struct bad_document {
  std::string text;
};

/// A value and its path in the document, for error messages.
class json_node {
 public:
  explicit json_node(const json& value, std::string path = {})
      : value_(value), path_(std::move(path)) {}

  [[nodiscard]] json_node at(const std::string& key) const {
    if (!value_.is_object()) wrong("an object");
    const auto it = value_.find(key);
    const auto path = path_.empty() ? key : path_ + "." + key;
    if (it == value_.end()) throw bad_document{path + " is missing"};
    return json_node(*it, path);
  }
  [[nodiscard]] bool is_null() const { return value_.is_null(); }
  [[nodiscard]] std::string text() const {
    if (!value_.is_string()) wrong("a string");
    return value_.get<std::string>();
  }
  [[nodiscard]] bool flag() const {
    if (!value_.is_boolean()) wrong("true or false");
    return value_.get<bool>();
  }
  [[nodiscard]] double number() const {
    if (!value_.is_number()) wrong("a number");
    return value_.get<double>();
  }
  template <class Whole = std::uint64_t>
  [[nodiscard]] Whole whole() const {
    if (!value_.is_number_unsigned() ||
        value_.get<std::uint64_t>() > std::numeric_limits<Whole>::max())
      wrong("a whole number");
    return static_cast<Whole>(value_.get<std::uint64_t>());
  }
  [[nodiscard]] std::optional<std::uint64_t> whole_or_null() const {
    return is_null() ? std::nullopt : std::optional(whole());
  }
  /// Applies `read` to each element.
  template <class Read>
  [[nodiscard]] auto each(Read read) const {
    if (!value_.is_array()) wrong("an array");
    std::vector<decltype(read(*this))> out;
    out.reserve(value_.size());
    for (std::size_t i = 0; i < value_.size(); ++i)
      out.push_back(read(json_node(value_[i], fmt::format("{}[{}]", path_, i))));
    return out;
  }
  [[noreturn]] void wrong(std::string_view expected) const {
    throw bad_document{
        fmt::format("{} is not {}", path_.empty() ? "the document" : path_, expected)};
  }

 private:
  const json& value_;
  std::string path_;
};

health read_verdict(const json_node& node) {
  for (const auto verdict : {health::pass, health::unknown, health::warn, health::fail})
    if (to_string(verdict) == node.text()) return verdict;
  node.wrong("PASS, UNKNOWN, WARN or FAIL");
}

check_result read_check_result(const json_node& node) {
  check_result out{.id = node.at("id").text(), .verdict = read_verdict(node.at("verdict"))};
  out.summary = node.at("summary").text();
  out.evidence = node.at("evidence").each([](const json_node& element) {
    return quote{.source = element.at("source").text(), .value = element.at("value").text()};
  });
  out.remedy = node.at("cure").text();
  return out;
}

guest_summary read_guest(const json_node& node) {
  guest_summary out;
  out.type = node.at("type").text();
  out.control_domain = node.at("control_domain").flag();
  out.xen_version = node.at("xen_version").text();
  out.kernel = node.at("kernel").text();
  out.upcall = node.at("upcall").text();
  out.event_abi = node.at("event_abi").text();
  out.clocksource = node.at("clocksource").text();
  out.clockevent = node.at("clockevent").text();
  return out;
}

std::vector<std::uint64_t> read_counts(const json_node& node) {
  return node.each([](const json_node& element) { return element.whole(); });
}

event_counts read_events(const json_node& node) {
  event_counts out;
  out.cpus =
      node.at("cpus").each([](const json_node& element) { return element.whole<unsigned>(); });
  out.kinds = node.at("kinds").each([&](const json_node& element) {
    event_counts::kind_counts kind{.kind = element.at("kind").text(),
                                   .counts = read_counts(element.at("counts"))};
    if (kind.counts.size() != out.cpus.size()) element.wrong("an array with a count for each CPU");
    return kind;
  });
  out.upcalls = read_counts(node.at("upcalls"));
  if (!out.upcalls.empty() && out.upcalls.size() != out.cpus.size())
    node.at("upcalls").wrong("an array with a count for each CPU");
  return out;
}

std::vector<probe::latency_step> read_steps(const json_node& node, std::uint64_t samples) {
  std::uint64_t before = 0;
  std::uint64_t left = samples;
  auto out = node.each([&](const json_node& element) {
    const auto pair = element.each([](const json_node& number) { return number.whole(); });
    if (pair.size() != 2) element.wrong("a pair of numbers");
    const probe::latency_step step{.upper = pair[0], .count = pair[1]};
    if (before != 0 && step.upper <= before) element.wrong("greater than the previous bound");
    if (step.count == 0 || step.count > left)
      element.wrong("a count that fits the number of samples");
    before = std::max<std::uint64_t>(step.upper, 1);
    left -= step.count;
    return step;
  });
  if (left != 0) node.wrong("a histogram of all samples");
  return out;
}

probe::latency_figures read_figures(const json_node& node) {
  probe::latency_figures out;
  auto& summary = out.summary;
  summary.samples = node.at("samples").whole();
  summary.min = node.at("min").whole();
  summary.mean = node.at("mean").number();
  summary.p50 = node.at("p50").whole_or_null();
  summary.p90 = node.at("p90").whole_or_null();
  summary.p99 = node.at("p99").whole_or_null();
  summary.p99_9 = node.at("p99_9").whole_or_null();
  summary.max = node.at("max").whole();
  out.rounds = node.at("rounds").each([](const json_node& element) {
    return probe::latency_round{.samples = element.at("samples").whole(),
                                .p50 = element.at("p50").whole_or_null(),
                                .p99 = element.at("p99").whole_or_null()};
  });
  out.steps = read_steps(node.at("histogram"), summary.samples);
  return out;
}

measurement read_measurement(const json_node& node) {
  measurement out;
  out.interval_ns = node.at("interval_ns").whole();
  out.scheduling = node.at("scheduling").text();
  out.timers = node.at("timers").each([](const json_node& element) {
    return measured_timer{.cpu = element.at("cpu").whole<unsigned>(),
                          .verdict = element.at("verdict").text(),
                          .reason = element.at("reason").text(),
                          .lost = element.at("lost").whole(),
                          .steal_ticks = element.at("steal_ticks").whole(),
                          .late = read_figures(element.at("late_ns"))};
  });
  out.ipis = node.at("ipis").each([](const json_node& element) {
    return measured_ipi{.from = element.at("from").whole<unsigned>(),
                        .to = element.at("to").whole<unsigned>(),
                        .verdict = element.at("verdict").text(),
                        .reason = element.at("reason").text(),
                        .round_trips = read_figures(element.at("round_trip_ns"))};
  });
  out.no_ipis = node.at("no_ipis").text();
  return out;
}

health_report read_report(const json_node& node) {
  if (node.at("schema").text() != "xenpv-doctor.report")
    node.at("schema").wrong("xenpv-doctor.report; the file was not written by xenpv-doctor --json");
  if (node.at("schema_version").whole() != 1)
    node.at("schema_version").wrong("1, the supported version");
  health_report out;
  out.time = node.at("time").text();
  out.guest = read_guest(node.at("guest"));
  out.check_results = node.at("rows").each(read_check_result);
  out.events = read_events(node.at("events"));
  out.steal = node.at("steal").each([](const json_node& element) {
    return cpu_steal{.cpu = element.at("cpu").whole<unsigned>(),
                     .ticks = element.at("ticks").whole()};
  });
  if (const auto incarnation = node.at("incarnation"); !incarnation.is_null())
    out.incarnation = incarnation.whole<std::uint32_t>();
  if (const auto measured = node.at("measured"); !measured.is_null())
    out.measured = read_measurement(measured);
  return out;
}

}  // namespace

result<health_report> parse_report(std::string_view text) {
  const auto document = json::parse(text.begin(), text.end(), nullptr, false);
  if (document.is_discarded())
    return make_error(errc::invalid_argument, "read a report", "not valid JSON");
  try {
    return read_report(json_node(document));
  } catch (const bad_document& problem) {
    return make_error(errc::invalid_argument, "read a report", problem.text);
  }
}

}  // namespace xenpv::doctor
