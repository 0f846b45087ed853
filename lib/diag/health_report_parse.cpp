#include <fmt/format.h>

#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "xenpv/diag/health_report.hpp"

namespace xenpv::diag {
namespace {

using json = nlohmann::json;

/// Internal to the parser: becomes an error at its door.
struct bad_document {
  std::string text;
};

/// A value and where in the document it stands, so that complaints can say so.
class place {
 public:
  explicit place(const json& value, std::string path = {})
      : value_(value), path_(std::move(path)) {}

  [[nodiscard]] place at(const std::string& key) const {
    if (!value_.is_object()) wrong("an object");
    const auto found = value_.find(key);
    const auto path = path_.empty() ? key : path_ + "." + key;
    if (found == value_.end()) throw bad_document{path + " is missing"};
    return place(*found, path);
  }
  [[nodiscard]] bool is_null() const { return value_.is_null(); }
  [[nodiscard]] std::string text() const {
    if (!value_.is_string()) wrong("a text");
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
  /// What `read` makes of each element.
  template <class Read>
  [[nodiscard]] auto each(Read read) const {
    if (!value_.is_array()) wrong("a list");
    std::vector<decltype(read(*this))> out;
    out.reserve(value_.size());
    for (std::size_t i = 0; i < value_.size(); ++i)
      out.push_back(read(place(value_[i], fmt::format("{}[{}]", path_, i))));
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

health read_verdict(const place& at) {
  for (const auto each : {health::pass, health::unknown, health::warn, health::fail})
    if (to_string(each) == at.text()) return each;
  at.wrong("PASS, UNKNOWN, WARN or FAIL");
}

finding read_finding(const place& at) {
  finding out{.id = at.at("id").text(), .verdict = read_verdict(at.at("verdict"))};
  out.summary = at.at("summary").text();
  out.evidence = at.at("evidence").each([](const place& each) {
    return quote{.source = each.at("source").text(), .value = each.at("value").text()};
  });
  out.cure = at.at("cure").text();
  return out;
}

guest_words read_guest(const place& at) {
  guest_words out;
  out.type = at.at("type").text();
  out.control_domain = at.at("control_domain").flag();
  out.xen_version = at.at("xen_version").text();
  out.kernel = at.at("kernel").text();
  out.upcall = at.at("upcall").text();
  out.event_abi = at.at("event_abi").text();
  out.clocksource = at.at("clocksource").text();
  out.clockevent = at.at("clockevent").text();
  return out;
}

std::vector<std::uint64_t> read_counts(const place& at) {
  return at.each([](const place& each) { return each.whole(); });
}

event_counts read_events(const place& at) {
  event_counts out;
  out.cpus = at.at("cpus").each([](const place& each) { return each.whole<unsigned>(); });
  out.kinds = at.at("kinds").each([&](const place& each) {
    event_counts::of_kind kind{.kind = each.at("kind").text(),
                               .counts = read_counts(each.at("counts"))};
    if (kind.counts.size() != out.cpus.size()) each.wrong("a list with a count for each CPU");
    return kind;
  });
  out.upcalls = read_counts(at.at("upcalls"));
  if (!out.upcalls.empty() && out.upcalls.size() != out.cpus.size())
    at.at("upcalls").wrong("a list with a count for each CPU");
  return out;
}

std::vector<latency_step> read_steps(const place& at, std::uint64_t samples) {
  std::uint64_t before = 0;
  std::uint64_t left = samples;
  auto out = at.each([&](const place& each) {
    const auto pair = each.each([](const place& number) { return number.whole(); });
    if (pair.size() != 2) each.wrong("a pair of numbers");
    const latency_step step{.upper = pair[0], .count = pair[1]};
    if (before != 0 && step.upper <= before) each.wrong("above the one before it");
    if (step.count == 0 || step.count > left) each.wrong("a part of the samples");
    before = std::max<std::uint64_t>(step.upper, 1);
    left -= step.count;
    return step;
  });
  if (left != 0) at.wrong("a histogram of all samples");
  return out;
}

latency_figures read_figures(const place& at) {
  latency_figures out;
  auto& summary = out.summary;
  summary.samples = at.at("samples").whole();
  summary.min = at.at("min").whole();
  summary.mean = at.at("mean").number();
  summary.p50 = at.at("p50").whole_or_null();
  summary.p90 = at.at("p90").whole_or_null();
  summary.p99 = at.at("p99").whole_or_null();
  summary.p99_9 = at.at("p99_9").whole_or_null();
  summary.max = at.at("max").whole();
  out.rounds = at.at("rounds").each([](const place& each) {
    return latency_round{.samples = each.at("samples").whole(),
                         .p50 = each.at("p50").whole_or_null(),
                         .p99 = each.at("p99").whole_or_null()};
  });
  out.steps = read_steps(at.at("histogram"), summary.samples);
  return out;
}

measurement read_measurement(const place& at) {
  measurement out;
  out.interval_ns = at.at("interval_ns").whole();
  out.scheduling = at.at("scheduling").text();
  out.timers = at.at("timers").each([](const place& each) {
    return measured_timer{.cpu = each.at("cpu").whole<unsigned>(),
                          .verdict = each.at("verdict").text(),
                          .reason = each.at("reason").text(),
                          .lost = each.at("lost").whole(),
                          .steal_ticks = each.at("steal_ticks").whole(),
                          .late = read_figures(each.at("late_ns"))};
  });
  out.ipis = at.at("ipis").each([](const place& each) {
    return measured_ipi{.from = each.at("from").whole<unsigned>(),
                        .to = each.at("to").whole<unsigned>(),
                        .verdict = each.at("verdict").text(),
                        .reason = each.at("reason").text(),
                        .round_trips = read_figures(each.at("round_trip_ns"))};
  });
  out.no_ipis = at.at("no_ipis").text();
  return out;
}

health_report read_report(const place& at) {
  if (at.at("schema").text() != "xenpv-doctor.report")
    at.at("schema").wrong("xenpv-doctor.report; this is no report of xenpv-doctor --json");
  if (at.at("schema_version").whole() != 1)
    at.at("schema_version").wrong("1, which this program knows");
  health_report out;
  out.time = at.at("time").text();
  out.guest = read_guest(at.at("guest"));
  out.findings = at.at("rows").each(read_finding);
  out.events = read_events(at.at("events"));
  out.steal = at.at("steal").each([](const place& each) {
    return cpu_steal{.cpu = each.at("cpu").whole<unsigned>(), .ticks = each.at("ticks").whole()};
  });
  if (const auto incarnation = at.at("incarnation"); !incarnation.is_null())
    out.incarnation = incarnation.whole<std::uint32_t>();
  if (const auto measured = at.at("measured"); !measured.is_null())
    out.measured = read_measurement(measured);
  return out;
}

}  // namespace

result<health_report> parse_report(std::string_view text) {
  const auto document = json::parse(text.begin(), text.end(), nullptr, false);
  if (document.is_discarded())
    return make_error(errc::invalid_argument, "read a report", "this is not JSON");
  try {
    return read_report(place(document));
  } catch (const bad_document& problem) {
    return make_error(errc::invalid_argument, "read a report", problem.text);
  }
}

}  // namespace xenpv::diag
