#include "base/prometheus_text.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace xenpv {
namespace {

TEST(prometheus_text, header_has_a_help_and_a_type_line) {
  std::string out;
  add_metric_header(out, "xen_a_total", metric_type::counter, "Requests completed.");
  add_metric_header(out, "xen_b", metric_type::gauge, "Clients.");
  add_metric_header(out, "xen_c_seconds", metric_type::buckets, "Latency.");
  EXPECT_EQ(out,
            "# HELP xen_a_total Requests completed.\n# TYPE xen_a_total counter\n"
            "# HELP xen_b Clients.\n# TYPE xen_b gauge\n"
            "# HELP xen_c_seconds Latency.\n# TYPE xen_c_seconds histogram\n");
}

TEST(prometheus_text, help_escapes_backslashes_and_newlines_but_not_quotes) {
  std::string out;
  add_metric_header(out, "a", metric_type::gauge, "a \"quoted\" \\ word\nand a line");
  EXPECT_EQ(out, "# HELP a a \"quoted\" \\\\ word\\nand a line\n# TYPE a gauge\n");
}

TEST(prometheus_text, label_escapes_quotes_backslashes_and_newlines) {
  EXPECT_EQ(metric_label("disk", "xvdb"), "disk=\"xvdb\"");
  EXPECT_EQ(metric_label("export", "a\"b\\c\nd"), "export=\"a\\\"b\\\\c\\nd\"");
  EXPECT_EQ(metric_label("export", ""), "export=\"\"");
  EXPECT_EQ(metric_label("export",
                         "Gr\xc3\xb6\xc3\x9f"
                         "e{}=,"),
            "export=\"Gr\xc3\xb6\xc3\x9f"
            "e{}=,\"");
}

TEST(prometheus_text, seconds_are_exact) {
  EXPECT_EQ(metric_seconds(0), "0");
  EXPECT_EQ(metric_seconds(1), "0.000000001");
  EXPECT_EQ(metric_seconds(8191), "0.000008191");
  EXPECT_EQ(metric_seconds(1'500'000'000), "1.5");
  EXPECT_EQ(metric_seconds(10'000'000'000), "10");
  EXPECT_EQ(metric_seconds(std::numeric_limits<std::uint64_t>::max()), "18446744073.709551615");
}

}  // namespace
}  // namespace xenpv
