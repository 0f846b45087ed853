// Writes and parses reports as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <concepts>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>

#include "doctor/health_report.hpp"

namespace xenpv::doctor {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::string_view schema = "xenpv-doctor.report";
constexpr unsigned schema_version = 1;

/// Pairs a JSON key with the record member that has its value.
constexpr auto field(const char* key, auto member) {
  return std::pair(key, member);
}

// The fields of each record, in document order.
constexpr auto fields_of(const quote*) {
  return std::tuple(field("source", &quote::source), field("value", &quote::value));
}
constexpr auto fields_of(const check_result*) {
  using record = check_result;
  return std::tuple(field("id", &record::id), field("verdict", &record::verdict),
                    field("summary", &record::summary), field("evidence", &record::evidence),
                    field("cure", &record::remedy));
}
constexpr auto fields_of(const guest_summary*) {
  using record = guest_summary;
  return std::tuple(field("name", &record::name), field("type", &record::type),
                    field("control_domain", &record::control_domain),
                    field("xen_version", &record::xen_version), field("kernel", &record::kernel),
                    field("upcall", &record::upcall), field("event_abi", &record::event_abi),
                    field("clocksource", &record::clocksource),
                    field("clockevent", &record::clockevent));
}
constexpr auto fields_of(const event_counts::kind_counts*) {
  using record = event_counts::kind_counts;
  return std::tuple(field("kind", &record::kind), field("counts", &record::counts));
}
constexpr auto fields_of(const cpu_steal*) {
  return std::tuple(field("cpu", &cpu_steal::cpu), field("ticks", &cpu_steal::ticks));
}
constexpr auto fields_of(const latency_summary*) {
  using record = latency_summary;
  return std::tuple(field("samples", &record::samples), field("min", &record::min),
                    field("mean", &record::mean), field("p50", &record::p50),
                    field("p90", &record::p90), field("p99", &record::p99),
                    field("p99.9", &record::p99_9), field("max", &record::max));
}
constexpr auto fields_of(const probe::latency_round*) {
  using record = probe::latency_round;
  return std::tuple(field("samples", &record::samples), field("p50", &record::p50),
                    field("p99", &record::p99));
}
constexpr auto fields_of(const measured_timer*) {
  using record = measured_timer;
  return std::tuple(field("cpu", &record::cpu), field("verdict", &record::verdict),
                    field("reason", &record::reason), field("lost", &record::lost),
                    field("steal_ticks", &record::steal_ticks), field("late_ns", &record::late));
}
constexpr auto fields_of(const measured_ipi*) {
  using record = measured_ipi;
  return std::tuple(field("from", &record::from), field("to", &record::to),
                    field("verdict", &record::verdict), field("reason", &record::reason),
                    field("round_trip_ns", &record::round_trips));
}
constexpr auto fields_of(const measurement*) {
  using record = measurement;
  return std::tuple(field("interval_ns", &record::interval_ns),
                    field("scheduling", &record::scheduling), field("timers", &record::timers),
                    field("ipis", &record::ipis), field("no_ipis", &record::no_ipis));
}
/// Omits the time: the document contains the worst verdict between the time and these fields.
constexpr auto fields_of(const health_report*) {
  using record = health_report;
  return std::tuple(field("guest", &record::guest), field("rows", &record::check_results),
                    field("events", &record::events), field("steal", &record::steal),
                    field("incarnation", &record::incarnation),
                    field("measured", &record::measured));
}

/// Calls visit(key, member) for each field.
template <class Record, class Visit>
void visit_fields(Record& record, Visit visit) {
  std::apply([&](const auto&... entry) { (visit(entry.first, record.*entry.second), ...); },
             fields_of(&record));
}

struct json_writer {
  static ordered_json write(health verdict) { return ordered_json(to_string(verdict)); }
  static ordered_json write(const probe::latency_step& step) {
    return ordered_json::array({step.upper, step.count});
  }
  static ordered_json write(const event_counts& events) {
    return {{"cpus", events.cpus}, {"kinds", write(events.kinds)}, {"upcalls", events.upcalls}};
  }
  static ordered_json write(const probe::latency_figures& figures) {
    auto out = write(figures.summary);
    out["rounds"] = write(figures.rounds);
    out["histogram"] = write(figures.steps);
    return out;
  }
  template <class T>
  static ordered_json write(const std::optional<T>& value) {
    return value ? write(*value) : ordered_json();
  }
  template <class T>
  static ordered_json write(const std::vector<T>& values) {
    auto out = ordered_json::array();
    for (const auto& value : values)
      out.push_back(write(value));
    return out;
  }
  template <class T>
  static ordered_json write(const T& value) {
    if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
      return ordered_json(value);
    } else {
      ordered_json out;
      visit_fields(value, [&](const char* key, const auto& member) { out[key] = write(member); });
      return out;
    }
  }
};

/// Thrown only inside the parser; parse_report() converts it to an error.
struct bad_document {
  std::string text;
};

/// A value and its path in the document, for error messages.
class json_node {
 public:
  explicit json_node(const json& value, std::string path = {})
      : value_(value), path_(std::move(path)) {}

  [[nodiscard]] json_node at(const std::string& key) const {
    require(value_.is_object(), "an object");
    const auto it = value_.find(key);
    const auto path = path_.empty() ? key : path_ + "." + key;
    if (it == value_.end()) throw bad_document{path + " is missing"};
    return json_node(*it, path);
  }
  void require(bool is_valid, std::string_view expected) const {
    if (!is_valid)
      throw bad_document{
          fmt::format("{} is not {}", path_.empty() ? "the document" : path_, expected)};
  }

  void read(std::string& out) const {
    require(value_.is_string(), "a string");
    out = value_.get<std::string>();
  }
  void read(bool& out) const {
    require(value_.is_boolean(), "true or false");
    out = value_.get<bool>();
  }
  void read(double& out) const {
    require(value_.is_number(), "a number");
    out = value_.get<double>();
  }
  template <std::unsigned_integral Whole>
  void read(Whole& out) const {
    require(value_.is_number_unsigned() &&
                value_.get<std::uint64_t>() <= std::numeric_limits<Whole>::max(),
            "a whole number");
    out = static_cast<Whole>(value_.get<std::uint64_t>());
  }
  void read(health& out) const {
    std::string text;
    read(text);
    for (const auto verdict : {health::pass, health::unknown, health::warn, health::fail})
      if (to_string(verdict) == text) {
        out = verdict;
        return;
      }
    require(false, "PASS, UNKNOWN, WARN or FAIL");
  }
  void read(event_counts& out) const {
    constexpr std::string_view expected = "an array with a count for each CPU";
    at("cpus").read(out.cpus);
    at("kinds").read_each(out.kinds, [&](const json_node& element, auto& kind) {
      element.read(kind);
      element.require(kind.counts.size() == out.cpus.size(), expected);
    });
    at("upcalls").read(out.upcalls);
    at("upcalls").require(out.upcalls.empty() || out.upcalls.size() == out.cpus.size(), expected);
  }
  void read(probe::latency_figures& out) const {
    read(out.summary);
    at("rounds").read(out.rounds);
    at("histogram").read_steps(out.steps, out.summary.samples);
  }
  template <class T>
  void read(std::optional<T>& out) const {
    if (!value_.is_null()) read(out.emplace());
  }
  template <class T>
  void read(std::vector<T>& out) const {
    read_each(out, [](const json_node& element, T& entry) { element.read(entry); });
  }
  void read(guest_summary& out) const {
    visit_fields(out, [&](const std::string& key, auto& member) {
      // Reports of earlier versions have no name.
      if (key != "name" || (value_.is_object() && value_.contains(key))) at(key).read(member);
    });
  }
  template <class Record>
  void read(Record& out) const {
    visit_fields(out, [&](const char* key, auto& member) { at(key).read(member); });
  }

 private:
  /// Calls read_element(element, entry) for each element.
  template <class T, class Read>
  void read_each(std::vector<T>& out, Read read_element) const {
    require(value_.is_array(), "an array");
    for (std::size_t i = 0; i < value_.size(); ++i)
      read_element(json_node(value_[i], fmt::format("{}[{}]", path_, i)), out.emplace_back());
  }
  void read_steps(std::vector<probe::latency_step>& out, std::uint64_t samples) const {
    std::uint64_t before = 0;
    read_each(out, [&](const json_node& element, probe::latency_step& step) {
      std::vector<std::uint64_t> pair;
      element.read(pair);
      element.require(pair.size() == 2, "a pair of numbers");
      step = {.upper = pair[0], .count = pair[1]};
      element.require(before == 0 || step.upper > before, "greater than the previous bound");
      element.require(step.count != 0 && step.count <= samples,
                      "a count that fits the number of samples");
      before = std::max<std::uint64_t>(step.upper, 1);
      samples -= step.count;
    });
    require(samples == 0, "a histogram of all samples");
  }

  const json& value_;
  std::string path_;
};

health_report read_report(const json_node& document) {
  std::string name;
  document.at("schema").read(name);
  document.at("schema").require(
      name == schema, "xenpv-doctor.report; the file was not written by xenpv-doctor --json");
  std::uint64_t version = 0;
  document.at("schema_version").read(version);
  document.at("schema_version").require(version == schema_version, "1, the supported version");
  health_report out;
  document.at("time").read(out.time);
  document.read(out);
  return out;
}

}  // namespace

std::string to_json_text(const health_report& report) {
  ordered_json document = {{"schema", schema}, {"schema_version", schema_version}};
  document["time"] = report.time;
  document["worst"] = to_string(worst_of(report.check_results));
  visit_fields(report, [&](const char* key, const auto& member) {
    document[key] = json_writer::write(member);
  });
  // Process and device names may contain arbitrary bytes.
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

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
