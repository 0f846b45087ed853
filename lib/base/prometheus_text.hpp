// The Prometheus text format, version 0.0.4, as read by Prometheus and by the textfile collector of
// node_exporter: headers, escaped labels and durations. The caller keeps the samples of a metric
// together. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace xenpv {

/// `buckets` is the format's histogram.
enum class metric_type { counter, gauge, buckets };

/// Appends the HELP and TYPE lines of a metric. `help` may contain any characters.
void add_metric_header(std::string& out, std::string_view name, metric_type type,
                       std::string_view help);

/// Returns `name="value"`, with backslashes, quotes and newlines in `value` escaped. `name` must be
/// a valid label name.
[[nodiscard]] std::string metric_label(std::string_view name, std::string_view value);

/// Returns nanoseconds as decimal seconds, exactly: 1500000000 is "1.5".
[[nodiscard]] std::string metric_seconds(std::uint64_t nanoseconds);

}  // namespace xenpv
